"""Which fields each OpenAI route knows, and how each is read.

The first authority is the openai SDK's own request types; a test compares. Beyond them the routes
read what clients send to any model whatever its type says, and a few fields of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from compat.fields import Reader, choice, flag, integer, json_object, seconds, text
from compat.mapped import Operation
from compat.parameters import TIMEOUT

LONGEST_PROMPT: Final = 32_000
MOST_IMAGES: Final = 10
MOST_PICTURES: Final = 16
"""Pictures that an edit may send."""
WIDEST_FEATHER: Final = 256
"""Pixels."""

QUALITIES: Final = ("low", "medium", "high", "xhigh", "max", "auto", "standard", "hd")

READERS: Final[Mapping[str, Reader[Any]]] = MappingProxyType(
    {
        "model": text(),
        "prompt": text(minimum=1, maximum=LONGEST_PROMPT),
        "n": integer(1, MOST_IMAGES),
        "size": text(),
        # `standard` and `hd` are DALL·E's, yet clients send them to any model.
        "quality": choice(*QUALITIES),
        "style": choice("vivid", "natural"),
        "response_format": choice("url", "b64_json"),
        "background": choice("transparent", "opaque", "auto"),
        "output_format": choice("png", "webp", "jpeg", "gif"),
        "output_compression": integer(0, 100),
        "moderation": choice("auto", "low"),
        "stream": flag,
        "partial_images": integer(0, 3),
        "user": text(),
        "safety_identifier": text(),
        "complexity": choice("low", "medium", "high"),
        "frame_count": integer(2, 16),
        "frame_duration_ms": integer(1),
        "svg": json_object,
        "input_fidelity": choice("high", "low"),
        "mask_feather": integer(0, WIDEST_FEATHER),
        TIMEOUT: seconds(),
    }
)
"""Every field that is no picture, in the order in which OpenAI reports faults."""

_GENERATION: Final = frozenset(READERS) - {"input_fidelity", "mask_feather", TIMEOUT}

OPENAI_FIELDS: Final[Mapping[Operation, frozenset[str]]] = MappingProxyType(
    {
        Operation.GENERATION: _GENERATION,
        # `images` and `moderation` are in the edit's JSON schema, not in the SDK's type.
        Operation.EDIT: (_GENERATION - {"style"}) | {"image", "images", "mask", "markup", "input_fidelity"},
        Operation.VARIATION: frozenset({"image", "model", "n", "response_format", "size", "user"}),
    }
)

EXTENSIONS: Final[Mapping[Operation, frozenset[str]]] = MappingProxyType(
    {
        Operation.GENERATION: frozenset({TIMEOUT}),
        Operation.EDIT: frozenset({"style", "mask_feather", TIMEOUT}),
        Operation.VARIATION: frozenset(
            {
                "quality",
                "style",
                "background",
                "output_format",
                "output_compression",
                "moderation",
                "safety_identifier",
                "input_fidelity",
                "frame_count",
                "frame_duration_ms",
                TIMEOUT,
            }
        ),
    }
)
"""What a route takes beyond OpenAI's own fields, unless it is strict."""

PICTURES: Final = frozenset({"image", "images", "mask", "markup"})
"""Fields that carry pictures. They are never ignored, only honoured or refused."""
