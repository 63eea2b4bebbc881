"""A model's files that are not on the machine its engine runs on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from engines.calls import EngineOptions, LoadProgress
from engines.card import HubOrigin, Source
from engines.detection import demo_card
from engines.errors import LoadFailed
from engines.loading import load
from engines.whereabouts import require_here


def ignore(_: LoadProgress) -> None:
    pass


def test_what_is_here_is_found() -> None:
    require_here(demo_card())


@pytest.mark.parametrize("field", ["path", "prior_path"])
def test_a_missing_folder_is_told_with_the_machine_and_what_helps(field: str, tmp_path: Path) -> None:
    card = demo_card().model_copy(update={field: str(tmp_path / "models" / "far-away")})
    with pytest.raises(LoadFailed) as caught:
        load(card, EngineOptions(), ignore)
    words = caught.value.reason
    assert "far-away" in words
    assert socket.gethostname() in words
    assert all(cure in words for cure in ("share", "hub", "--resource"))
    assert str(tmp_path) not in words


def test_a_missing_part_is_told_by_its_role(tmp_path: Path) -> None:
    part = Source(role="movq", path=str(tmp_path / "movq.pt"))
    with pytest.raises(LoadFailed, match=r"its movq \(movq.pt\) is not on the machine"):
        require_here(demo_card().model_copy(update={"sources": (part,)}))


def test_the_files_of_a_hub_need_not_be_here(tmp_path: Path) -> None:
    hub = HubOrigin(repository="org/name", revision="0" * 40)
    require_here(demo_card().model_copy(update={"path": str(tmp_path / "snapshots" / "x"), "hub": hub}))
