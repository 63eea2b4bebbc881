"""The keys that are not OpenAI's: a model's own parameters, by the names clients call them."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from pydantic import JsonValue

from compat.forms import field_value, parameter_value
from compat.mapped import Ignored
from compat.parameters import COUNT, GUIDANCE, NEGATIVE_PROMPT, SEED, STEPS, STRENGTH
from compat.policy import UnknownFields
from compat.sources import Upload
from compat.vocabulary import PICTURES
from engines.errors import UnknownParameter
from engines.schema import MethodSchema, ParameterSpec

SYNONYMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "steps": STEPS,
        "num_steps": STEPS,
        "inference_steps": STEPS,
        "sampling_steps": STEPS,
        "sample_steps": STEPS,
        "numInferenceSteps": STEPS,
        "cfg": GUIDANCE,
        "cfg_scale": GUIDANCE,
        "cfgScale": GUIDANCE,
        "guidance": GUIDANCE,
        "guidanceScale": GUIDANCE,
        "negativePrompt": NEGATIVE_PROMPT,
        "denoising_strength": STRENGTH,
    }
)
"""What clients call a parameter, by its name in diffusers."""

FIELD_SYNONYMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "num_images": "n",
        "num_outputs": "n",
        COUNT: "n",
        "image_size": "size",
    }
)
"""What clients call one of OpenAI's fields."""


@dataclass(frozen=True)
class OwnParameters:
    """The keys of a request that are not OpenAI's, sorted out.

    ``values`` are the model's own parameters under their real names, and the seed; ``fields`` are
    (name, OpenAI's name, value) of OpenAI's fields under other names; ``unknown`` are told.
    """

    values: dict[str, JsonValue] = field(default_factory=dict)
    fields: tuple[tuple[str, str, Any], ...] = ()
    unknown: tuple[Ignored, ...] = ()

    def spelled(self, name: str) -> list[tuple[str, Any]]:
        """The other names under which one of OpenAI's fields came, with their values."""
        return [(spelling, value) for spelling, real, value in self.fields if real == name]


def own_parameters(
    given: Mapping[str, Any],
    method: MethodSchema,
    *,
    known_fields: Iterable[str],
    unknown_fields: UnknownFields,
    form: bool,
) -> OwnParameters:
    """Sort out the keys that are not OpenAI's; nulls are omissions.

    A synonym counts where the method has the parameter that it stands for, and this one is not given
    itself; a parameter that is itself called like a synonym is itself. ``known_fields`` are
    OpenAI's, for the near matches.

    Raises:
        UnknownParameter: a key that is no parameter under any name.
    """
    visible = {spec.name: spec for spec in method.visible}
    values: dict[str, JsonValue] = {}
    fields: list[tuple[str, str, Any]] = []
    unknown: list[Ignored] = []
    for name, value in given.items():
        field_name = _field_name(name, visible)
        real = _real_name(name, visible, taken={*given, *values})
        if field_name is not None:
            fields.append((name, field_name, value))
        elif real is None:
            error = unknown_parameter(name, method, known_fields)
            if unknown_fields is UnknownFields.ERROR or _is_picture(name, value):
                raise error
            unknown.append(Ignored(name, str(error)))
        elif value is not None:
            values[real] = _value(real, visible, value) if form else value
    return OwnParameters(values, tuple(fields), tuple(unknown))


def _field_name(name: str, visible: Container[str]) -> str | None:
    """OpenAI's name of a field that came under another one."""
    return FIELD_SYNONYMS.get(name) if name == COUNT or name not in visible else None


def _real_name(name: str, visible: Container[str], *, taken: Container[str]) -> str | None:
    """The model's parameter that a key stands for."""
    if name == SEED or name in visible:
        return name
    real = SYNONYMS.get(name)
    return real if real in visible and real not in taken else None


def _value(name: str, visible: Mapping[str, ParameterSpec], value: object) -> JsonValue:
    if name == SEED:
        seed: JsonValue = field_value(SEED, value, field=SEED)  # type: ignore[assignment]  # checked later
        return seed
    return parameter_value(visible[name], value)


def unknown_parameter(name: str, method: MethodSchema, known_fields: Iterable[str]) -> UnknownParameter:
    """The refusal of a key, with the names that come near it or the reason why it cannot be set."""
    hidden = method.find(name)
    accepted = tuple(spec.name for spec in method.visible)
    if hidden is not None and hidden.hidden_reason is not None:
        return UnknownParameter(name, (), accepted, f"It cannot be set by a request: {hidden.hidden_reason}.")
    candidates = dict.fromkeys((*accepted, *sorted(known_fields)))
    return UnknownParameter(name, difflib.get_close_matches(name, candidates, n=2), accepted)


def _is_picture(name: str, value: object) -> bool:
    """Whether a key carries a picture, which is never ignored."""
    parts = value if isinstance(value, list) else [value]
    return name.removesuffix("[]") in PICTURES or any(isinstance(part, Upload) for part in parts)
