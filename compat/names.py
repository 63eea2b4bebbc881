"""OpenAI's own model names. What counts is the name that the caller used, which may be an alias."""

from __future__ import annotations

from typing import Final

_GPT: Final = ("gpt-image", "chatgpt-image")
_DALL_E: Final = "dall-e"
_WITH_FIXED_SIZES: Final = ("gpt-image-1",)
_WITH_MORE_QUALITY: Final = ("gpt-image-2.5", "gpt-image-2.6")


def is_gpt_image(name: str | None) -> bool:
    """Whether this is the name of a GPT Image model."""
    return name is not None and name.lower().startswith(_GPT)


def is_dall_e(name: str | None) -> bool:
    """Whether this is the name of a DALL·E model."""
    return name is not None and name.lower().startswith(_DALL_E)


def has_fixed_sizes(name: str | None) -> bool:
    """Whether OpenAI's model of this name makes three sizes only: gpt-image-1, -1-mini and -1.5."""
    return name is not None and name.lower().startswith(_WITH_FIXED_SIZES)


def has_more_quality(name: str | None) -> bool:
    """Whether OpenAI's model of this name knows ``xhigh`` and ``max``."""
    return name is not None and name.lower().startswith(_WITH_MORE_QUALITY)
