"""The key under which what is known of a model is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines import identity
from engines.card import CheckpointFormat, Family, ModelCard, Part

CARD = ModelCard(
    name="m", path="/m", family=Family.DIFFUSERS, format=CheckpointFormat.DIFFUSERS_FOLDER, part=Part.WHOLE
)


def test_key_is_the_same_for_the_same_model() -> None:
    assert identity.knowledge_key(CARD) == identity.knowledge_key(CARD.model_copy())


def test_key_changes_with_the_model() -> None:
    assert identity.knowledge_key(CARD) != identity.knowledge_key(
        CARD.model_copy(update={"fingerprint": "x"})
    )


def test_key_changes_with_the_code_that_describes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity.knowledge_key(CARD)
    (tmp_path / "identity.py").write_text("changed = True")
    monkeypatch.setattr(identity, "__file__", str(tmp_path / "identity.py"))
    identity._own_code.cache_clear()
    try:
        assert identity.knowledge_key(CARD) != before
    finally:
        identity._own_code.cache_clear()
