"""A guard against tokenizers that load as empty ones, with which pictures would ignore their prompts."""

from __future__ import annotations

from typing import Any, Final

from engines.card import ModelCard
from engines.errors import LoadFailed
from engines.formats.diffusers_folder import VOCABULARIES, has_vocabulary
from engines.opening import OpenedModel

_LEAST_SHARE: Final = 0.5
"""The least share of the text encoder's vocabulary that a real tokenizer has."""


def check_tokenizers(card: ModelCard, model: OpenedModel, components: dict[str, Any]) -> None:
    """Refuse a tokenizer without its vocabulary.

    transformers 5 makes an empty tokenizer, in silence, of a folder whose vocabulary files are missing.

    Raises:
        LoadFailed: naming the folder and the files it needs.
    """
    for name, component in components.items():
        if "tokenizer" not in name or component is None:
            continue
        if not has_vocabulary(model.components[name].folder):
            raise LoadFailed(card.name, f"{name}/ has no vocabulary; it needs {', or '.join(VOCABULARIES)}")
        _check_length(card, name, component, components.get(name.replace("tokenizer", "text_encoder")))


def _check_length(card: ModelCard, name: str, tokenizer: Any, encoder: Any) -> None:
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    config = getattr(encoder, "config", None)
    expected = getattr(config, "vocab_size", None) or getattr(
        getattr(config, "text_config", None), "vocab_size", None
    )
    if isinstance(expected, int) and len(inner) < _LEAST_SHARE * expected:
        raise LoadFailed(
            card.name, f"{name}/ knows {len(inner)} tokens where its text encoder expects {expected}"
        )
