"""The state folder: private, atomic, and honest about files that it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.problems import Problem
from gateway.state import Deployed, StateFolder, state_root
from tests.gateway.entries import entry


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "home")
    folder.prepare()
    return folder


def test_the_token_is_made_once_and_readable_by_its_owner_alone(state: StateFolder) -> None:
    token = state.token()
    assert state.token() == token
    assert len(token) == 64
    assert state.token_file.stat().st_mode & 0o777 == 0o600


def test_what_was_deployed_is_remembered_whole(state: StateFolder) -> None:
    deployed = Deployed(models=(entry("k3", aliases=("*",)),))
    state.remember(deployed)
    assert state.remembered() == deployed
    state.remember(None)
    assert state.remembered() == Deployed()


def test_a_memory_that_cannot_be_read_is_named_and_kept(state: StateFolder) -> None:
    file = state.root / "deployments.json"
    file.write_text('{"models": [{"card": 1}]}')
    with pytest.raises(Problem, match=r"deployments\.json is not what this version writes"):
        state.remembered()
    assert file.exists()


def test_the_path_of_a_socket_under_the_temporary_folder_fits(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / ("long" * 30))
    socket = state.temporary / "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
    assert len(str(socket)) <= 103


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({"KANDINSKY_HOME": "/a/b"}, "/a/b"),
        ({"XDG_STATE_HOME": "/x"}, "/x/kandinsky-gateway"),
    ],
)
def test_the_environment_says_where_the_folder_is(environment: dict[str, str], root: str) -> None:
    assert state_root(environment) == Path(root)


def test_a_folder_that_cannot_be_made_is_a_problem_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem, match="set KANDINSKY_HOME"):
        StateFolder(tmp_path / "file" / "home").prepare()
