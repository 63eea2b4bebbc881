"""Under which key what is known of a model is kept: its content, the libraries, and this code."""

from __future__ import annotations

import functools
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from engines.card import ModelCard


def knowledge_key(card: ModelCard) -> str:
    """A key that changes when the model, diffusers, transformers or the code that describes it does."""
    versions = [version(name) for name in ("diffusers", "transformers")]
    material = json.dumps([card.model_dump(mode="json"), versions, _own_code()])
    return hashlib.sha256(material.encode()).hexdigest()[:32]


@functools.cache
def _own_code() -> str:
    """A digest of this package's source: a checkout changes without its version number."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for file in sorted((*folder.glob("*.py"), *folder.glob("formats/*.py"))):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
