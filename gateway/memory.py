"""What was learned of models by loading them: the completed schema, how long a load takes and
what memory it needs.

Small JSON files in the state folder, by `engines.identity.knowledge_key`. They are a cache: a lost one
costs a less precise schema until the next load.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import ValidationError

from engines.card import ModelCard
from engines.identity import knowledge_key
from engines.schema import Frozen, PipelineSchema
from gateway.state import write_private

_logger = logging.getLogger(__name__)


class Learned(Frozen):
    """One file of the memory. ``load_seconds`` is the last load's duration, waking included;
    ``memory_bytes`` what the model was seen to need on its device."""

    schema_: PipelineSchema
    load_seconds: float | None = None
    memory_bytes: float | None = None


class ModelMemory:
    """The files under ``folder`` (``None``: nothing is kept)."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def recall(self, card: ModelCard) -> Learned | None:
        """What is known of this very model, or ``None``."""
        if self._folder is None:
            return None
        try:
            return Learned.model_validate_json(self._file(card).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            _logger.warning("what was learned of %s cannot be read: %s", card.name, error)
            return None

    def remember(self, card: ModelCard, learned: Learned) -> None:
        """Keep ``learned``; a full or read-only disk only costs a warning."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_private(self._file(card), learned.model_dump_json().encode())
        except OSError as error:
            _logger.warning("what was learned of %s cannot be kept: %s", card.name, error)

    def _file(self, card: ModelCard) -> Path:
        assert self._folder is not None
        return self._folder / f"{knowledge_key(card)}.json"
