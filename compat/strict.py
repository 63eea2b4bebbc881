"""What OpenAI itself would refuse, as measured on its images API.

In strict use the routes know OpenAI's fields alone, want a model named, and hold the model's name
against it: a ``dall-e-3`` makes one picture, a ``gpt-image-1`` three sizes, and GPT Image has neither
``style`` nor ``response_format``. Names that are not OpenAI's are held to GPT Image's fields, and to
their own sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from compat.errors import InvalidSize, NamedModelLimit
from compat.fields import Reader, UnsupportedValue, WrongType, choice, text
from compat.mapped import Operation
from compat.names import has_fixed_sizes, has_more_quality, is_dall_e, is_gpt_image
from compat.parameters import TIMEOUT
from compat.policy import Policy
from compat.sizes import parse_size
from compat.vocabulary import EXTENSIONS, OPENAI_FIELDS, READERS
from engines.errors import MissingParameter, UnknownParameter
from engines.schema import MethodSchema

NOT_OF_GPT_IMAGE: Final = frozenset({"response_format", "style"})

GPT_IMAGE_1_SIZES: Final = ("1024x1024", "1024x1536", "1536x1024", "auto")
LONGEST_EDGE: Final = 3840
SMALLEST_AREA: Final = 655_360
LARGEST_AREA: Final = 8_294_400
"""Pixels, of the GPT Image models that make any size."""

_DALL_E_PROMPTS: Final = {"dall-e-2": 1000, "dall-e-3": 4000}
_DALL_E_SIZES: Final = {
    "dall-e-2": ("256x256", "512x512", "1024x1024"),
    "dall-e-3": ("1024x1024", "1792x1024", "1024x1792"),
}
_DALL_E_QUALITIES: Final = {"dall-e-2": ("auto", "standard"), "dall-e-3": ("auto", "standard", "hd")}


def known_fields(operation: Operation, *, policy: Policy, name: str | None) -> frozenset[str]:
    """The fields that a route knows, for the model's name as the caller spelled it."""
    if not policy.strict:
        return OPENAI_FIELDS[operation] | EXTENSIONS[operation]
    return OPENAI_FIELDS[operation] - (NOT_OF_GPT_IMAGE if is_gpt_image(name) else frozenset())


def of_the_model(method: MethodSchema) -> frozenset[str]:
    """Fields of ours that the model has a parameter for, which then is what is meant."""
    spec = method.find(TIMEOUT)
    return frozenset({TIMEOUT}) if spec is not None and spec.visible else frozenset()


def check_model(given: Mapping[str, Any]) -> None:
    """Refuse a body that names no model.

    Raises:
        MissingParameter, WrongType
    """
    if "model" not in given:
        raise MissingParameter("model")
    if given["model"] is None:
        raise WrongType("model", "a string", "null")


def refuse_foreign(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse any key that is not OpenAI's.

    Raises:
        UnknownParameter
    """
    for name in names:
        raise UnknownParameter(name, (), sorted(known))


def reader_for(field: str, *, policy: Policy, model: str | None) -> Reader[Any]:
    """How a field is read; in strict use as OpenAI's model of this name reads it."""
    if policy.strict and field == "quality":
        return choice(*_qualities(model))
    if policy.strict and field == "prompt" and model in _DALL_E_PROMPTS:
        return text(minimum=1, maximum=_DALL_E_PROMPTS[model])
    return READERS[field]


def check_values(values: Mapping[str, Any], *, name: str | None) -> None:
    """Hold the values of a request against OpenAI's model of this name.

    Raises:
        NamedModelLimit, UnsupportedValue, InvalidSize
    """
    if name == "dall-e-3" and values.get("n", 1) > 1:
        raise NamedModelLimit("You must provide n=1 for this model.")
    size = values.get("size")
    if size is None:
        return
    if name in _DALL_E_SIZES and size not in _DALL_E_SIZES[name]:
        raise NamedModelLimit(f"{size!r} is not one of {list(_DALL_E_SIZES[name])} - 'size'")
    if has_fixed_sizes(name):
        if size not in GPT_IMAGE_1_SIZES:
            raise UnsupportedValue("size", size, GPT_IMAGE_1_SIZES)
    elif is_gpt_image(name):
        _check_free_size(size)


def _qualities(name: str | None) -> tuple[str, ...]:
    if name in _DALL_E_QUALITIES:
        return _DALL_E_QUALITIES[name]
    more = ("xhigh", "max") if has_more_quality(name) or not (is_gpt_image(name) or is_dall_e(name)) else ()
    return ("low", "medium", "high", *more, "auto")


def _check_free_size(size: str) -> None:
    edges = parse_size(size)
    if edges is None:
        return
    area = edges[0] * edges[1]
    if any(edge % 16 for edge in edges):
        fault = "Width and height must both be divisible by 16."
    elif max(edges) > LONGEST_EDGE:
        fault = f"The longest edge must be less than or equal to {LONGEST_EDGE}."
    elif max(edges) > 3 * min(edges):
        fault = "The aspect ratio must be between 1:3 and 3:1."
    elif area < SMALLEST_AREA:
        fault = "Requested resolution is below the current minimum pixel budget."
    elif area > LARGEST_AREA:
        fault = "Requested resolution is above the current maximum pixel budget."
    else:
        return
    raise InvalidSize(size, fault)
