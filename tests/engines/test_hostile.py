"""Nothing in a checkpoint ever runs: hostile files at every door of the engines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from engines.calls import EngineOptions, LoadProgress
from engines.conversion.reading import open_tensors
from engines.detection import detect, find_models
from engines.errors import LoadFailed, NotLoadable
from engines.loading import load
from engines.pickles import UNSAFE_VARIABLE
from tests.hostile.__main__ import Watch
from tests.hostile.canary import PAYLOADS
from tests.hostile.corpus import CASES, Corpus, lay_out

ROOT = Path(__file__).parents[2]
FILES = [name for name, case in CASES.items() if case.opened is not None or name.startswith("tensor-")]
LOADED = [name for name, case in CASES.items() if case.loaded is not None]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, tiny_models: Callable[[str], Path]) -> Iterator[Corpus]:
    corpus = lay_out(tmp_path_factory.mktemp("hostile"), tiny_models)
    yield corpus
    corpus.canary.remove()


@pytest.fixture(autouse=True)
def nothing_ran(corpus: Corpus) -> Iterator[None]:
    yield
    assert corpus.canary.traces() == []


def ignore(progress: LoadProgress) -> None:
    """A report nobody looks at."""


def check(corpus: Corpus, reason: str, words: str) -> None:
    """A reason says what is wrong, and nothing of this machine."""
    assert words
    assert re.search(words, reason), reason
    for leak in (str(corpus.models.parent), "/tmp/", "site-packages", "Traceback", 'File "'):
        assert leak not in reason or leak in words or "in a place where none may be" in reason
    assert len(reason) < 1000


@pytest.mark.parametrize("name", CASES)
def test_detection_says_what_is_wrong(corpus: Corpus, name: str) -> None:
    case = CASES[name]
    card = detect(corpus.path(name))

    assert card.loadable is (case.detected == "")
    if case.detected:
        check(corpus, card.reason or "", case.detected)


@pytest.mark.parametrize("name", FILES)
def test_tensors_are_given_or_refused_in_words(corpus: Corpus, name: str) -> None:
    words, path = CASES[name].opened, corpus.path(name)
    if words == "":
        assert all(type(tensor) is torch.Tensor for tensor in open_tensors(path).values())
        return
    with pytest.raises(NotLoadable) if words else suppress(NotLoadable) as caught:
        open_tensors(path)
    if words and caught is not None:
        check(corpus, caught.value.reason, words)
        assert path.name in str(caught.value)


@pytest.mark.parametrize("name", LOADED)
def test_what_detection_lets_through_is_loaded_or_refused_in_words(
    corpus: Corpus, tmp_path: Path, name: str
) -> None:
    card = detect(corpus.path(name))
    options = EngineOptions(device="cpu", threads=1, cache_folder=str(tmp_path))
    words = CASES[name].loaded
    if words:
        with pytest.raises(LoadFailed) as caught:
            load(card, options, ignore)
        check(corpus, caught.value.reason, words)
    else:
        assert load(card, options, ignore).pipelines


def test_a_folder_with_all_of_them_can_be_searched(corpus: Corpus) -> None:
    corpus.write_all()
    found = find_models(corpus.models)

    assert {card.path for card in found if card.loadable} >= {
        str(corpus.path(name)) for name in ("code-everywhere", "index-oddities", "pack-auto-map")
    }


def test_python_itself_sees_nothing_run_or_written(corpus: Corpus, tmp_path: Path) -> None:
    corpus.write_all()
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile", str(tmp_path), str(corpus.models)],
        input="\n".join(map(str, corpus.paths.values())),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(corpus.canary.planted)},
        check=True,
    )
    report = json.loads(done.stdout.splitlines()[-1])

    assert report["seen"] == []
    assert report["found"] > 1
    assert "custom code" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("event", "arguments", "seen"),
    [
        ("os.system", (b"true",), True),
        ("compile", (b"'hostile_sprung'", "<string>"), True),
        ("compile", (b"1", "<string>"), False),
        ("import", ("evil", None, None), True),
        ("open", ("/elsewhere/file", None, os.O_CREAT), True),
        ("open", ("/cache/file", None, os.O_CREAT), False),
        ("open", ("/elsewhere/file", "r", os.O_RDONLY), False),
        ("os.symlink", ("/elsewhere/file", "/cache/file", -1), True),
    ],
)
def test_the_watch_tells_a_trap_from_reading(event: str, arguments: tuple[Any, ...], seen: bool) -> None:
    watch = Watch(Path("/cache"))
    watch(event, arguments)

    assert bool(watch.seen) is seen


@pytest.mark.parametrize("kind", PAYLOADS)
def test_the_traps_are_live(tmp_path: Path, kind: str) -> None:
    script = (
        "import pathlib, pickle, sys; from tests.hostile.canary import Canary; "
        "canary = Canary(pathlib.Path(sys.argv[1])); canary.plant(); "
        "made = pickle.loads(pickle.dumps(canary.payload(sys.argv[2]))); "
        "getattr(made, 'wait', bool)(); print(canary.traces())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), kind],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert "hostile_sprung" in done.stdout.lower()


def test_where_torch_is_told_to_run_pickles_none_is_opened(corpus: Corpus) -> None:
    path = corpus.path("zip-hidden-exec")
    script = (
        "import pathlib, sys; from engines.conversion.reading import open_tensors; "
        "open_tensors(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {UNSAFE_VARIABLE: "1"},
    )

    assert done.returncode == 1
    assert f"{UNSAFE_VARIABLE} is set" in done.stderr.splitlines()[-1]
