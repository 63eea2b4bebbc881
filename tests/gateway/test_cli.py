"""The command line as its user sees it: one clear line, an exit code, no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.detection import DEMO_PATH
from tests import originals

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs the command line with a state folder of its own."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name not in ("HOST", "PORT")}
        environment |= {
            "KANDINSKY_HOME": str(tmp_path / "home"),
            "KANDINSKY_CACHE": str(tmp_path / "cache"),
            **variables,
        }
        program = [sys.executable, "-m", "gateway", *arguments]
        return subprocess.run(program, capture_output=True, text=True, env=environment, check=False)

    return run


def test_help_names_every_command(command: Command) -> None:
    done = command("--help")
    assert done.returncode == 0
    assert all(
        word in done.stdout
        for word in ("deploy", "add-remote", "list", "status", "undeploy", "start", "stop", "join", "leave")
    )


@pytest.mark.parametrize("arguments", [("status",), ("undeploy", "demo"), ("export",)])
def test_without_a_service_the_exit_code_is_3(command: Command, arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert done.returncode == 3
    assert "error: no service runs here" in done.stderr
    assert "Traceback" not in done.stderr


def test_stopping_what_does_not_run_is_no_error(command: Command) -> None:
    done = command("stop")
    assert (done.returncode, done.stdout) == (0, "Nothing was running.\n")


def test_leaving_what_was_not_joined_is_no_error(command: Command) -> None:
    done = command("leave")
    assert (done.returncode, done.stdout) == (0, "This machine was in no cluster.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "'nowhere' is not HOST:PORT"),
        (("127.0.0.1:1", "--token-file", "/no/such/file"), "the token cannot be read from /no/such/file"),
        (("127.0.0.1:1", "--resource", "slot=none"), "bad option resource"),
        (("127.0.0.1:1", "--resource", "slot=-1"), "bad option resource: slot=-1 is not an amount above 0"),
        (("127.0.0.1:1",), "no cluster answers at 127.0.0.1:1"),
    ],
)
def test_a_cluster_that_cannot_be_joined_says_why(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    done = command("join", *arguments)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("/no/such/model",), "there is no file or folder at /no/such/model"),
        (("--dtype", "float8"), "bad option dtype"),
        (("--size-fit", "stretch"), "bad option size_fit: 'stretch' is none of error, resize"),
    ],
)
def test_what_cannot_be_deployed_is_refused_before_anything_starts(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    done = command("deploy", *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_remote_model_that_cannot_be_is_refused_before_anything_starts(command: Command) -> None:
    done = command("add-remote", "far", "--base-url", "ftp://x/v1", "--model", "m")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "bad option base_url" in done.stderr


def test_a_bad_port_is_named(command: Command) -> None:
    done = command("deploy", PORT="80000")
    assert done.returncode == 1
    assert done.stderr == "error: PORT='80000' is not a port: expected a number from 1 to 65535\n"


def test_the_list_shows_the_models_of_a_folder_and_the_one_that_is_included(command: Command) -> None:
    done = command("list", MODELS_DIR=str(DEMO_PATH.parent))
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert set(rows) == {"NAME", "weights", "demo"}
    assert str(DEMO_PATH) in rows["weights"]


def test_the_list_says_what_a_model_lacks(command: Command, tmp_path: Path) -> None:
    shutil.copytree(DEMO_PATH, tmp_path / "broken")
    (tmp_path / "broken" / "unet" / "config.json").unlink()
    done = command("list", MODELS_DIR=str(tmp_path))
    assert "no: " in done.stdout


def test_an_empty_folder_of_models_is_said_to_be_so(command: Command, tmp_path: Path) -> None:
    done = command("list", MODELS_DIR=str(tmp_path))
    assert f"No model was found in {tmp_path}" in done.stdout
    assert "demo" in done.stdout


def test_a_model_is_packed_into_one_file(command: Command, tmp_path: Path) -> None:
    target = tmp_path / "demo.safetensors"

    done = command("pack", str(DEMO_PATH), str(target))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{target} holds weights (Kandinsky3Pipeline, 12 MB).\n"
    assert "packed file" in command("list", MODELS_DIR=str(tmp_path)).stdout
    assert "--force replaces it" in command("pack", str(DEMO_PATH), str(target)).stderr
    assert command("pack", str(DEMO_PATH), str(target), "--force").returncode == 0


def test_what_cannot_be_packed_says_why(command: Command, tmp_path: Path) -> None:
    (tmp_path / "kandinsky3.ckpt").write_bytes(b"<html>")

    done = command("pack", str(tmp_path / "kandinsky3.ckpt"), str(tmp_path / "x.safetensors"))
    assert done.returncode == 2
    assert "is a web page" in done.stderr
    assert "must end in .safetensors" in command("pack", str(DEMO_PATH), str(tmp_path / "x.ckpt")).stderr


def test_the_cache_of_conversions_is_listed_and_pruned(command: Command, tmp_path: Path) -> None:
    release = originals.write("kandinsky3", tmp_path / "models")
    assert _converted(command("list", MODELS_DIR=str(tmp_path / "models"))) == "no"
    packed = command("pack", str(release), str(tmp_path / "k3.safetensors"))
    assert packed.returncode == 0, packed.stderr

    assert _converted(command("list", MODELS_DIR=str(tmp_path / "models"))) == "yes"
    listed = command("cache", "list").stdout
    assert "kandinsky3.pt, projection.pt, movq.pt" in listed
    assert f"1 converted, 14 MB in {tmp_path / 'cache'}." in listed
    assert "say which" in command("cache", "prune").stderr
    assert "removed" not in command("cache", "prune", "--older-than", "1").stdout
    assert "removed kandinsky3" in command("cache", "prune", "--all").stdout
    assert "0 converted" in command("cache", "list").stdout


def _converted(listed: subprocess.CompletedProcess[str]) -> str:
    row = next(line for line in listed.stdout.splitlines() if line.startswith("kandinsky3"))
    return row.split("yes", 1)[1].split()[0]


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (
            ("--component", "movq"),
            {},
            "bad option component: 'movq' is not NAME=VALUE, as in movq=/data/movq.pt",
        ),
        (("--component", "movq=/no/such.pt"), {}, "such.pt, which was given, is not there"),
        (("--offload", "much"), {}, "bad option offload"),
        (
            ("--quantize", "unet"),
            {},
            "bad option quantize: 'unet' is not NAME=VALUE, as in text_encoder=int8",
        ),
        ((), {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}, "unset it and start again"),
        ((), {"KANDINSKY_ALLOW_PICKLES": "false"}, "KANDINSKY_ALLOW_PICKLES=false forbids them"),
    ],
)
def test_what_must_not_be_loaded_is_refused_before_anything_starts(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], variables: dict[str, str], message: str
) -> None:
    release = originals.write("kandinsky3", tmp_path / "models")

    done = command("deploy", str(release), *arguments, **variables)

    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home" / "cluster.json").exists()


def test_a_model_that_no_hub_has_is_refused_in_words(command: Command, tmp_path: Path) -> None:
    done = command("deploy", "org/nothing@v1", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))

    assert done.returncode == 2
    assert "org/nothing@v1" in done.stderr
    assert "offline" in done.stderr.lower()
    assert "Traceback" not in done.stderr
