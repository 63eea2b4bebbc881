"""Values of a request turned into what a pipeline takes: pictures and random generators.

The values have passed `engines.validation`; only what JSON cannot carry is changed here.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from pydantic import JsonValue

from engines.calls import LARGEST_SEED
from engines.errors import InvalidImage, InvalidParameter
from engines.pictures import decode_text, open_picture
from engines.schema import MethodSchema, ValueKind, ValueType


def seeds(seed: int | None, count: int) -> tuple[int, ...]:
    """The seeds of ``count`` images: ``seed`` + i for image i, from a random one where none is given.

    Seeds lie within 0 … 2**53 - 1 and start again at 0 past the end.

    Raises:
        InvalidParameter: ``seed`` is out of this range.
    """
    if seed is None:
        seed = secrets.randbelow(LARGEST_SEED + 1)
    elif seed < 0:
        raise InvalidParameter("seed", "expected an integer of at least 0", "integer_below_min_value")
    elif seed > LARGEST_SEED:
        raise InvalidParameter(
            "seed", f"expected an integer of at most {LARGEST_SEED}", "integer_above_max_value"
        )
    return tuple((seed + i) % (LARGEST_SEED + 1) for i in range(count))


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One generator for every seed, on the CPU: pipelines take it with any device.

    The picture then depends on the seed alone, not on the kind of device that draws it.
    """
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def pipeline_arguments(
    method: MethodSchema,
    parameters: Mapping[str, JsonValue],
    *,
    max_image_pixels: int,
) -> dict[str, Any]:
    """The keyword arguments for a pipeline: pictures decoded, everything else as it is.

    Only visible parameters are passed on. A picture for a parameter with "mask" in its name becomes
    grey (mode ``L``), any other ``RGB``.

    Raises:
        InvalidImage: a picture cannot be decoded, or has more than ``max_image_pixels``.
    """
    return {
        spec.name: _with_pictures(spec.name, parameters[spec.name], max_image_pixels)
        if holds_pictures(spec.type)
        else _as_tuple(spec.type, parameters[spec.name])
        for spec in method.visible
        if spec.name in parameters
    }


def fitted(arguments: Mapping[str, Any], size: tuple[int, int] | None) -> dict[str, Any]:
    """The arguments with every picture resampled to ``size`` (width, height), where one is given."""
    return {name: _fitted(value, size) for name, value in arguments.items()}


def per_prompt(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Part the arguments of several prompts into those of one call for each prompt.

    A list for any other parameter with "prompt" in its name is parted along with the prompts.

    Raises:
        InvalidParameter: the list is empty, or not as long as that of the prompts.
    """
    prompts = arguments.get("prompt")
    count = len(prompts) if isinstance(prompts, list) else 1
    lists = {name: value for name, value in arguments.items() if "prompt" in name and isinstance(value, list)}
    for name, value in lists.items():
        if not value:
            raise InvalidParameter(name, "expected at least one value", "empty_array")
        if len(value) != count:
            raise InvalidParameter(name, f"expected one value, or a list of {count}, as there are prompts")
    return [{**arguments, **{name: value[i] for name, value in lists.items()}} for i in range(count)]


def _as_tuple(wanted: ValueType, value: JsonValue) -> Any:
    """JSON has no tuples, and pipelines add theirs up."""
    return tuple(value) if wanted.length is not None and isinstance(value, list) else value


def holds_pictures(value: ValueType) -> bool:
    """Whether a value of this type is a picture, or may contain some.

    A string for such a parameter is always decoded: some pipelines would open a path or a URL.
    """
    match value.kind:
        case ValueKind.IMAGE:
            return True
        case ValueKind.ARRAY:
            return value.items is not None and holds_pictures(value.items)
        case ValueKind.UNION:
            return any(holds_pictures(option) for option in value.options)
        case _:
            return False


def _fitted(value: Any, size: tuple[int, int] | None) -> Any:
    if isinstance(value, list):
        return [_fitted(each, size) for each in value]
    if not isinstance(value, Image.Image) or size is None or value.size == size:
        return value
    return value.resize(size, Image.Resampling.LANCZOS)


def _with_pictures(name: str, value: JsonValue, max_pixels: int) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [_with_pictures(f"{name}[{i}]", item, max_pixels) for i, item in enumerate(value)]
    if not isinstance(value, str):
        raise InvalidImage(name, "expected a base64 string or a data URI")
    return decode_image(name, value, max_pixels=max_pixels)


def decode_image(name: str, text: str, *, max_pixels: int) -> Image.Image:
    """Decode a picture given as base64 or as a ``data:`` URI, the way up that its EXIF data says.

    ``name`` is the request field, for the error and for the mode (``L`` for masks, else ``RGB``).

    Raises:
        InvalidImage: not base64, not a picture, damaged, or of more than ``max_pixels``.
    """
    image = open_picture(name, decode_text(name, text), max_pixels=max_pixels)
    return image.convert("L" if "mask" in name else "RGB")
