"""Models of the hub are fetched once, whole and verified; whatever prevents that is said in words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engines.detection import detect
from engines.errors import NotLoadable
from engines.hub import HubReference
from engines.hub.cache import HubFile
from engines.hub.selection import choose
from tests.hub_server import Hub, digest, git_digest, hub_server

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 30.0
NOWHERE = "http://127.0.0.1:9"
"""The discard port, where nobody listens."""
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
TOY_INDEX = {"_class_name": "Toy", "unet": ["diffusers", "UNet"], "scheduler": ["diffusers", "Scheduler"]}
TOY = {
    "model_index.json": json.dumps(TOY_INDEX).encode(),
    "README.md": b"# Toy\n",
    "scheduler/scheduler_config.json": b"{}",
    "unet/config.json": b'{"sample_size": 8}',
    WEIGHTS: bytes(range(256)) * 4096,
}

Models = Callable[[str], Path]


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@dataclass
class Machine:
    """One hub's address, one home, and a process that fetches for each environment that is asked for.

    A process is long to start; the tests of this module share them, and have repositories of their own.
    """

    url: str
    home: Path
    processes: dict[tuple[tuple[str, str], ...], subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, environment: dict[str, str], *command: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        own = {
            "HF_HOME": str(self.home),
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5",
            "HF_HUB_ETAG_TIMEOUT": "5",
            "NO_PROXY": "127.0.0.1",
        }
        return subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=inherited | own | environment,
        )

    def ask(self, environment: dict[str, str], wish: dict[str, Any]) -> dict[str, Any]:
        key = tuple(sorted(environment.items()))
        if key not in self.processes:
            self.processes[key] = self.start(environment, "-m", "tests.hub_client")
        process = self.processes[key]
        assert process.stdin
        assert process.stdout
        print(json.dumps(wish), file=process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    def stop(self) -> None:
        for process in self.processes.values():
            process.communicate(timeout=DEADLINE_SECONDS)


@dataclass
class Client:
    """Fetches ``repository`` where no other reference is given."""

    machine: Machine
    repository: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def blobs(self) -> Path:
        return self.machine.home / "hub" / f"models--{self.repository.replace('/', '--')}" / "blobs"

    def outcome(self, reference: str = "", **wishes: Any) -> dict[str, Any]:
        return self.machine.ask(self.environment, {"reference": reference or self.repository} | wishes)

    def fetch(self, reference: str = "", **wishes: Any) -> Path:
        """The snapshot's folder."""
        outcome = self.outcome(reference, **wishes)
        assert "fetched" in outcome, outcome
        return Path(outcome["fetched"]["folder"])

    def refusal(self, reference: str = "", **wishes: Any) -> str:
        """The reason; it tells no path, no token and nothing of an address but its host."""
        outcome = self.outcome(reference, **wishes)
        assert "refused" in outcome, outcome
        model, reason = outcome["refused"]
        assert model == (reference or self.repository).partition("@")[0]
        for secret in (str(self.machine.home), "hf_", "secret", "Traceback"):
            assert secret not in reason
        return str(reason)

    def run(self, program: str) -> list[str]:
        """The lines that a program of huggingface_hub's prints; REPOSITORY in it is this one."""
        named = f"REPOSITORY = {self.repository!r}\n{program}"
        process = self.machine.start(self.environment, "-c", named)
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0
        return output.splitlines()


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with hub_server() as hub:
        yield hub


@pytest.fixture(scope="module")
def machine(server: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(server.url, tmp_path_factory.mktemp("home"))
    yield machine
    machine.stop()


@pytest.fixture
def client(hub: Hub, machine: Machine, tmp_path: Path) -> Client:
    """A client of a repository of its own: a diffusers folder whose weights are 1 MiB."""
    repository = f"maker/toy{len(hub.repositories)}"
    hub.repositories[repository] = write(tmp_path / "toy", TOY)
    return Client(machine, repository)


@pytest.fixture
def hub(server: Hub) -> Hub:
    """The hub, behaving well, with no request so far."""
    server.behave()
    return server


@pytest.mark.parametrize(
    ("text", "repository", "revision"),
    [
        ("org/name", "org/name", "main"),
        (" ai-forever/Kandinsky3.1 ", "ai-forever/Kandinsky3.1", "main"),
        ("org/name@v1.0", "org/name", "v1.0"),
        ("org/name@refs/pr/3", "org/name", "refs/pr/3"),
        (f"hf://org/name@{COMMIT}", "org/name", COMMIT),
        ("https://huggingface.co/org/name", "org/name", "main"),
        ("https://huggingface.co/org/name/?x=1#y", "org/name", "main"),
        ("https://huggingface.co/org/name/tree/refs%2Fpr%2F3", "org/name", "refs/pr/3"),
        ("https://mirror.example/hf/org/name", "org/name", "main"),
    ],
)
def test_a_reference_is_read(
    text: str, repository: str, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/hf/")

    assert HubReference.parse(text) == HubReference(repository=repository, revision=revision)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "/models/name",
        "./org/name",
        "../name",
        "~/name",
        "tests/engines",
        "models/k22.safetensors",
        "org/name/folder",
        "org/name@",
        "org/name@../../x",
        "org/na--me",
        "org/name.git",
        "hf://name",
        "https://huggingface.co/datasets/org/name",
        "https://huggingface.co/org/name/tree/main/unet",
        "https://example.com/org/name",
    ],
)
def test_what_is_a_path_or_no_model_s_name_is_no_reference(text: str) -> None:
    assert HubReference.parse(text) is None


def test_what_is_on_disk_is_a_path_unless_it_is_said_to_be_a_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    assert HubReference.parse("org/name") is None
    assert HubReference.parse("hf://org/name") == HubReference(repository="org/name")


def test_importing_the_hub_reads_no_environment_and_loads_no_model_library() -> None:
    program = "import engines.hub, sys; print(*{'torch', 'huggingface_hub', 'httpx2'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout.split() == []


def chosen(*paths: str, pickles: bool = True, **objects: Any) -> set[str]:
    """The paths chosen of a repository; ``objects`` are those in its JSON files, by the files' stems."""
    files = {path: HubFile(path=path, size=1, digest="") for path in paths}

    def read(path: str) -> dict[str, Any]:
        found: dict[str, Any] = objects[Path(path).name.partition(".")[0]]
        return found

    return {file.path for file in choose("org/name", files, read, pickles=pickles)}


UNET = {"unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [None, None], "steps": 5}
FOLDER = ("model_index.json", "unet/config.json")


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["model.safetensors", "model.fp16.safetensors", "model.bin"], ["model.safetensors"]),
        (["model.fp16.safetensors", "model.bin"], ["model.fp16.safetensors"]),
        (["model.bin", "model.fp16.bin", "flax_model.msgpack", "model.onnx"], ["model.bin"]),
        (["model.safetensors", "model-1-of-1.safetensors", "openvino_config.json"], ["model.safetensors"]),
    ],
)
def test_a_component_has_one_set_of_weights(there: list[str], taken: list[str]) -> None:
    weights = [f"unet/{name}" for name in there]
    found = chosen(*FOLDER, *weights, "unet.safetensors", "unet/training.py", "vae/x.json", model_index=UNET)

    assert found == {*FOLDER, *(f"unet/{name}" for name in taken)}


def test_all_shards_of_an_index_are_taken_and_no_other_variant_s() -> None:
    shards = [f"unet/diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = "unet/diffusion_pytorch_model.safetensors.index.json"
    weight_map = {"a": Path(shards[0]).name, "b": Path(shards[1]).name}
    others = ("unet/diffusion_pytorch_model.bin.index.json", "unet/diffusion_pytorch_model.fp16.safetensors")
    objects: dict[str, Any] = {
        "model_index": UNET,
        "diffusion_pytorch_model": {"weight_map": weight_map},
    }

    assert chosen(*FOLDER, index, *shards, *others, **objects) == {*FOLDER, index, *shards}
    with pytest.raises(NotLoadable, match=r"00002-of-00002\.safetensors, which is not there"):
        chosen(*FOLDER, index, shards[0], **objects)


def test_a_component_without_a_folder_is_refused() -> None:
    with pytest.raises(NotLoadable, match="names the component unet, and there is no folder unet/"):
        chosen("model_index.json", model_index=UNET)


def test_pickles_are_refused_where_they_are_forbidden() -> None:
    with pytest.raises(NotLoadable, match=r"unet/model\.bin is a pickle"):
        chosen(*FOLDER, "unet/model.bin", model_index=UNET, pickles=False)
    with pytest.raises(NotLoadable, match=r"decoder_fp16\.ckpt is a pickle"):
        chosen("decoder_fp16.ckpt", pickles=False)
    assert chosen(*FOLDER, "unet/model.safetensors", model_index=UNET, pickles=False)


def test_a_repository_as_its_authors_laid_it_out_is_taken_whole() -> None:
    wanted = {
        "README.md",
        "config.json",
        "decoder_fp16.ckpt",
        "weights/kandinsky3.pt",
        "weights/flan_ul2/model.safetensors",
        "weights/flan_ul2/spiece.model",
        "text_encoder/merges.txt",
    }
    unwanted = {
        ".gitattributes",
        "assets/sheep.png",
        "run.py",
        "weights/flan_ul2/pytorch_model.bin",
        "weights/flan_ul2/pytorch_model.bin.index.json",
        "onnx/model.bin",
        "weights/openvino_model.bin",
        "weights/flax_model.msgpack",
    }

    assert chosen(*wanted, *unwanted) == wanted


def test_a_repository_without_weights_is_refused() -> None:
    with pytest.raises(NotLoadable, match=r"no model_index\.json and no weight files"):
        chosen("README.md", "config.json")


def test_only_the_wanted_files_are_fetched(hub: Hub, client: Client) -> None:
    decoys = ["toy.safetensors", "unet/diffusion_pytorch_model.bin", "unet/flax_model.msgpack", "vae/a.json"]
    write(hub.repositories[client.repository], dict.fromkeys(decoys, b"decoy"))

    folder = client.fetch()

    assert hub.fetched() == set(TOY)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(TOY)
    assert all((folder / path).read_bytes() == content for path, content in TOY.items())


def test_a_decoder_comes_with_its_prior_and_loads_again_without_the_hub(
    hub: Hub, machine: Machine, tiny_models: Models, tmp_path: Path
) -> None:
    decoder = Path(shutil.copytree(tiny_models("kandinsky22-decoder"), tmp_path / "decoder"))
    (decoder / "README.md").write_text("---\nlicense: apache-2.0\nprior:\n- maker/prior\n---\n# Decoder\n")
    hub.repositories |= {"maker/decoder": decoder, "maker/prior": tiny_models("kandinsky22-prior")}
    client = Client(machine, "maker/decoder")
    outcome = client.outcome()
    hub.requests.clear()
    again = client.outcome()
    asked = [each.path for each in hub.requests]
    client.environment = {"HF_ENDPOINT": NOWHERE}
    without = client.outcome()
    client.environment = {"HF_HUB_OFFLINE": "1"}
    offline = client.outcome()

    fetched = outcome["fetched"]
    card = detect(fetched["folder"], prior=fetched["prior"])
    assert (card.loadable, card.reason, card.name) == (True, None, "decoder")
    assert card.prior_path == fetched["prior"]
    assert Path(fetched["folder"]) == client.blobs.parent / "snapshots" / fetched["revision"]
    assert again["fetched"] == fetched
    assert asked == [f"/api/models/maker/{name}/revision/main" for name in ("decoder", "prior")]
    assert without["fetched"]["offline"] == "the hub at 127.0.0.1 cannot be reached (no network?)"
    assert offline["fetched"] == fetched | {"offline": "HF_HUB_OFFLINE forbids to ask the hub"}
    for each in (outcome, again, without, offline):
        assert each["progress"][-1][1] == each["progress"][-1][2] == outcome["progress"][-1][2] > 10**5


def test_a_prior_that_is_given_elsewhere_is_not_fetched(hub: Hub, client: Client) -> None:
    index = TOY_INDEX | {"_class_name": "KandinskyV22Pipeline"}
    named = {"model_index.json": json.dumps(index).encode(), "README.md": b"---\nprior: maker/none\n---\n"}
    write(hub.repositories[client.repository], named)

    assert client.outcome()["refused"][0] == "maker/none"
    assert client.outcome(with_prior=False)["fetched"]["prior"] is None


def test_progress_grows_to_the_sum_of_all_files(hub: Hub, client: Client) -> None:
    hub.dropped[WEIGHTS] = [200_000] * 3
    progress = client.outcome()["progress"]

    done = [bytes_done for _, bytes_done, _ in progress]
    assert {total for *_, total in progress} == {sum(map(len, TOY.values()))}
    assert done == sorted(done)
    assert done[-1] == progress[-1][2]


def test_a_dropped_connection_is_resumed_where_it_broke_off(hub: Hub, client: Client) -> None:
    hub.dropped[WEIGHTS] = [500_000, 100_000]

    folder = client.fetch()

    assert [each.start for each in hub.bodies(WEIGHTS)] == [None, 500_000, 600_000]
    assert (folder / WEIGHTS).read_bytes() == TOY[WEIGHTS]


def test_a_server_without_ranges_is_received_from_the_start(hub: Hub, client: Client) -> None:
    hub.dropped[WEIGHTS] = [500_000]
    hub.ignores_ranges = True

    assert (client.fetch() / WEIGHTS).read_bytes() == TOY[WEIGHTS]


def test_a_killed_download_goes_on_at_the_next_fetch(hub: Hub, client: Client) -> None:
    hub.stalled[WEIGHTS] = 2**19
    partial = client.blobs / f"{digest(TOY[WEIGHTS])}.incomplete"
    process = client.machine.start({}, "-m", "tests.hub_client")
    assert process.stdin
    print(json.dumps({"reference": client.repository}), file=process.stdin, flush=True)
    try:
        assert hub.reached.wait(DEADLINE_SECONDS)
        while not (partial.exists() and partial.stat().st_size == 2**19):
            assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    hub.stalled.clear()

    folder = client.fetch()

    assert [each.start for each in hub.bodies(WEIGHTS)] == [None, 2**19]
    assert (folder / WEIGHTS).read_bytes() == TOY[WEIGHTS]
    assert not partial.exists()


def test_a_hub_out_of_order_is_asked_again(hub: Hub, client: Client) -> None:
    hub.busy = 2

    assert client.fetch(impatient=True).is_dir()
    assert hub.busy == 0


def test_a_connection_that_breaks_without_end_is_given_up(hub: Hub, client: Client) -> None:
    hub.dropped[WEIGHTS] = [1000] + [0] * 9

    reason = client.refusal(impatient=True)

    assert "broke off 3 times without a byte more, at 1000 of 1048576 bytes" in reason
    assert "the next attempt goes on from there" in reason


@pytest.mark.parametrize("path", [WEIGHTS, "unet/config.json"])
def test_a_file_that_is_not_what_the_hub_lists_is_refused_and_removed(
    path: str, hub: Hub, client: Client
) -> None:
    hub.corrupted.add(path)

    assert path in client.refusal()
    name = digest(TOY[path]) if path == WEIGHTS else git_digest(TOY[path])
    files = {file.name for file in client.blobs.parent.rglob("*")}
    assert not files & {Path(path).name, name, f"{name}.incomplete"}

    hub.corrupted.clear()
    assert (client.fetch() / path).read_bytes() == TOY[path]


def test_what_was_verified_is_not_hashed_again_until_it_changes(hub: Hub, client: Client) -> None:
    blob = (client.fetch() / WEIGHTS).resolve()
    status = blob.stat()
    blob.write_bytes(bytes(len(TOY[WEIGHTS])))
    os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert client.fetch().is_dir()

    os.utime(blob)

    assert WEIGHTS in client.refusal()
    assert not blob.exists()
    assert len(hub.bodies(WEIGHTS)) == 1


def test_what_huggingface_hub_has_fetched_is_used_and_the_other_way_round(hub: Hub, client: Client) -> None:
    folder = client.run("import huggingface_hub as h; print(h.snapshot_download(REPOSITORY))")
    bodies = len(hub.bodies())

    assert [str(client.fetch())] == folder
    assert len(hub.bodies()) == bodies

    write(hub.repositories[client.repository], {"unet/config.json": b'{"new": 1}'})
    new = client.fetch()
    found = client.run(
        "import huggingface_hub as h\n"
        "print(h.snapshot_download(REPOSITORY, local_files_only=True))\n"
        "found = {each.repo_id: each for each in h.scan_cache_dir().repos}\n"
        "print(len(found[REPOSITORY].revisions))"
    )
    assert found == [str(new), "2"]
    assert len(hub.bodies()) == bodies + 1


def test_what_another_program_fetched_serves_without_the_hub(client: Client) -> None:
    folder = client.run("import huggingface_hub as h; print(h.snapshot_download(REPOSITORY))")
    client.environment = {"HF_HUB_OFFLINE": "1"}

    assert [str(client.fetch())] == folder


def test_two_that_fetch_the_same_at_once_receive_it_once(hub: Hub, client: Client) -> None:
    hub.stalled[WEIGHTS] = len(TOY[WEIGHTS])
    other = client.machine.start({}, "-m", "tests.hub_client")
    assert other.stdin
    print(json.dumps({"reference": client.repository}), file=other.stdin, flush=True)
    assert hub.reached.wait(DEADLINE_SECONDS)

    folder = client.fetch()
    output, _ = other.communicate(timeout=DEADLINE_SECONDS)

    assert json.loads(output)["fetched"]["folder"] == str(folder)
    assert len(hub.bodies(WEIGHTS)) == 1


def test_a_disk_without_links_holds_the_files_themselves(hub: Hub, client: Client) -> None:
    client.environment = {"HF_HUB_DISABLE_SYMLINKS": "1"}
    folder = client.fetch()
    hub.requests.clear()

    assert client.fetch() == folder
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert [(folder / path).read_bytes() for path in TOY] == list(TOY.values())
    assert not hub.bodies()


def test_a_broken_update_leaves_the_earlier_snapshot_in_use(hub: Hub, client: Client) -> None:
    earlier = client.fetch()
    write(hub.repositories[client.repository], {WEIGHTS: b"new", "unet/config.json": b'{"new": 1}'})
    hub.corrupted.add(WEIGHTS)
    client.refusal()
    client.environment = {"HF_HUB_OFFLINE": "1"}

    assert client.fetch() == earlier


def test_a_gated_repository_asks_for_access_and_a_token(hub: Hub, client: Client) -> None:
    hub.gated.add(client.repository)
    hub.tokens = {"hf_member": True, "hf_stranger": False}
    reason = client.refusal()
    assert f"it is gated: ask for access at https://127.0.0.1/{client.repository}" in reason
    assert "HF_TOKEN" in reason

    client.environment = {"HF_TOKEN": "hf_stranger"}
    assert "the token's account has no access yet" in client.refusal()

    client.environment = {"HF_TOKEN": "hf_member"}
    client.fetch()
    tokens = {each.token for each in hub.requests if each.path.startswith("/cdn/")}
    assert tokens == {None}, "the token must not leave the hub"


def test_a_wrong_token_is_named_as_the_cause(hub: Hub, client: Client) -> None:
    assert not hub.tokens
    client.environment = {"HF_TOKEN": "hf_member"}

    assert "the hub refuses the token: it is wrong or no longer valid" in client.refusal()


def test_an_unknown_repository_may_be_a_private_one(hub: Hub, client: Client) -> None:
    reason = client.refusal("maker/none")
    assert "has no such repository, or it is private: check the name" in reason
    assert "HF_TOKEN" in reason

    hub.tokens = {"hf_member": True}
    client.environment = {"HF_TOKEN": "hf_member"}
    assert "or it is private and the token's account may not read it" in client.refusal("maker/none")


def test_an_unknown_revision_is_named(client: Client) -> None:
    assert client.refusal(f"{client.repository}@v9") == "it has no revision 'v9'"


def test_a_commit_that_is_there_is_not_asked_for(hub: Hub, client: Client) -> None:
    reference = f"{client.repository}@{hub.commit(client.repository)}"
    folder = client.fetch(reference)
    hub.requests.clear()

    assert client.fetch(reference) == folder
    assert not hub.requests


def test_without_the_hub_what_is_not_there_is_refused(client: Client) -> None:
    client.environment = {"HF_HUB_OFFLINE": "1"}
    assert client.refusal() == (
        "HF_HUB_OFFLINE forbids to ask the hub, and nothing of this revision is in the local cache"
    )

    client.environment = {"HF_ENDPOINT": NOWHERE}
    assert "the hub at 127.0.0.1 cannot be reached (no network?)" in client.refusal()


def test_without_the_hub_a_snapshot_with_a_hole_is_refused(client: Client) -> None:
    path = client.fetch() / WEIGHTS
    path.resolve().unlink()
    path.unlink()
    client.environment = {"HF_HUB_OFFLINE": "1"}

    assert f"the local cache does not hold all of it: {WEIGHTS} is missing" in client.refusal()


def test_a_disk_without_room_is_refused_before_the_weights(hub: Hub, client: Client) -> None:
    reason = client.refusal(free=500_000)

    assert reason.startswith(
        "1.0 MB are still to be fetched and the disk of the hub's cache has 500.0 kB free"
    )
    assert not hub.bodies(WEIGHTS)
    assert client.fetch(free=1_100_000).is_dir()
    assert client.fetch(free=0).is_dir(), "what is there needs no room"
