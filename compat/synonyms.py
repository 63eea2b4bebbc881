"""The keys that are not OpenAI's: a model's own parameters, by the names clients call them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydantic import JsonValue

from compat.parameters import COUNT, GUIDANCE, NEGATIVE_PROMPT, SEED, STEPS
from engines.schema import MethodSchema
from engines.validation import check

SYNONYMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "steps": STEPS,
        "sampling_steps": STEPS,
        "cfg": GUIDANCE,
        "cfg_scale": GUIDANCE,
        "guidance": GUIDANCE,
        "negativePrompt": NEGATIVE_PROMPT,
    }
)

COUNT_NAMES: Final = ("num_images", COUNT)
"""Other names of OpenAI's ``n``."""


def with_real_names(given: Mapping[str, JsonValue], method: MethodSchema) -> dict[str, JsonValue]:
    """Rename synonyms to the parameters that the method has.

    A synonym keeps its name, and will be refused by it, where the real name is no visible
    parameter or has a value already; a parameter that is itself called like a synonym stays.
    """
    visible = {spec.name for spec in method.visible}
    renamed = {name: value for name, value in given.items() if not _is_synonym(name, visible)}
    for name, value in given.items():
        if name in renamed:
            continue
        real = SYNONYMS[name]
        renamed[name if real in renamed else real] = value
    return renamed


def refuse_unknown(given: Mapping[str, JsonValue], method: MethodSchema) -> None:
    """Refuse a key that is no parameter under any name, whatever its value.

    Raises:
        UnknownParameter
    """
    known = {spec.name for spec in method.visible} | {SEED, *COUNT_NAMES}
    unknown = {name: value for name, value in with_real_names(given, method).items() if name not in known}
    if unknown:
        check(method, unknown)


def _is_synonym(name: str, visible: set[str]) -> bool:
    return name not in visible and SYNONYMS.get(name) in visible
