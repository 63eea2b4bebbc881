"""A native request - a model's own parameters as JSON - turned into an engine call.

Nothing is renamed or guessed here: what a pipeline calls a parameter is what a request calls it.
Some names are not the pipelines' own and are taken out: ``seed``, the number of images, the encoding of
the answer, the pictures of the way, and the time that it all may take.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from engines.calls import FRAME_MILLISECONDS, FRAMES, LARGEST_SEED, EngineCall, ImageFormat
from engines.errors import InvalidParameter
from engines.native_schema import ANSWER_PARAMETERS, IMAGE, MASK, TIMEOUT
from engines.schema import Method, MethodSchema, PipelineSchema
from engines.validation import check, check_size

COUNT: Final = "num_images_per_prompt"


def map_native(
    parameters: Mapping[str, JsonValue],
    schema: PipelineSchema,
    *,
    request_id: str,
    method: Method | None = None,
) -> EngineCall:
    """Turn a request into a call, checked against the schema.

    Without a ``method`` the inputs decide: a mask asks for inpainting and an image for
    image-to-image, where ``__call__`` does not take them itself and the model has such a method.

    Raises:
        UnknownParameter, MissingParameter, InvalidParameter: naming the parameter.
    """
    chosen = schema.method(method or _method_for(parameters, schema))
    if chosen is None:
        raise InvalidParameter("method", f"this model has no {method!r}.")
    # A null edge is the model's own everywhere; Kandinsky 3 fails on the null that its signature allows.
    given = {name: v for name, v in parameters.items() if v is not None or name not in ("width", "height")}
    seed = _integer("seed", given.pop("seed", None), 0, LARGEST_SEED)
    count = _integer(COUNT, given.pop(COUNT, None), 1, _most_images(chosen))
    image_format, compression = _encoding(given, chosen)
    previews = _of_the_answer(given, chosen, "partial_images")
    frames = _of_the_answer(given, chosen, "frame_count")
    duration = _of_the_answer(given, chosen, "frame_duration_ms")
    timeout = None if _has(chosen, TIMEOUT) else _seconds(TIMEOUT, given.pop(TIMEOUT, None))
    given = check(chosen, given)
    _check_size(given, schema)
    return EngineCall(
        request_id=request_id,
        method=chosen.name,
        parameters=given,
        count=1 if count is None else count,
        seed=seed,
        format=image_format,
        compression=compression,
        previews=previews or 0,
        frames=frames or FRAMES,
        frame_milliseconds=duration or FRAME_MILLISECONDS,
        deadline_seconds=timeout,
    )


def _method_for(parameters: Mapping[str, JsonValue], schema: PipelineSchema) -> Method:
    own = {spec.name for spec in schema.call.visible}
    wanted: tuple[tuple[str, Method], ...] = ((MASK, "inpaint"), (IMAGE, "image_to_image"))
    for name, method in wanted:
        if parameters.get(name) is not None and name not in own and schema.method(method):
            return method
    return schema.call.name


def _most_images(method: MethodSchema) -> int | None:
    spec = method.find(COUNT)
    most = spec.constraints.maximum if spec else None
    return None if most is None else int(most)


def _encoding(given: dict[str, JsonValue], method: MethodSchema) -> tuple[ImageFormat, int | None]:
    """Take the answer's format and compression out, where the pipeline has no such parameters."""
    image_format = ImageFormat.PNG
    if not _has(method, "output_format"):
        word = given.pop("output_format", None)
        if word is not None:
            image_format = _format(word)
    compression = _of_the_answer(given, method, "output_compression")
    if image_format is ImageFormat.PNG and compression not in (None, 100):
        raise InvalidParameter("output_compression", "PNG is lossless; only 100 is supported for it.")
    return image_format, None if image_format is ImageFormat.PNG else compression


def _of_the_answer(given: dict[str, JsonValue], method: MethodSchema, name: str) -> int | None:
    """Take a number that concerns the answer out, where the pipeline has no such parameter."""
    if _has(method, name):
        return None
    bounds = ANSWER_PARAMETERS[name].constraints
    lowest, highest = bounds.minimum, bounds.maximum
    assert lowest is not None
    assert highest is not None
    return _integer(name, given.pop(name, None), int(lowest), int(highest))


def _has(method: MethodSchema, name: str) -> bool:
    spec = method.find(name)
    return spec is not None and spec.visible


def _format(word: JsonValue) -> ImageFormat:
    known = [known.value for known in ImageFormat]
    if word not in known:
        raise InvalidParameter("output_format", f"expected one of {', '.join(map(repr, known))}.")
    return ImageFormat(word)


def _check_size(given: Mapping[str, JsonValue], schema: PipelineSchema) -> None:
    """Check width and height together; the model's default stands for one that is not given."""
    rule = schema.size
    width, height = given.get("width"), given.get("height")
    if rule is None or (width is None and height is None):
        return
    width = rule.default_width if width is None else width
    height = rule.default_height if height is None else height
    if isinstance(width, int) and isinstance(height, int):
        check_size(rule, width, height)


def _seconds(name: str, value: JsonValue) -> float | None:
    """A time above zero; null counts as not given."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidParameter(name, "expected a number.", "invalid_type")
    if not 0 < value < math.inf:
        raise InvalidParameter(name, f"expected more than 0, but got {value}.", "decimal_below_min_value")
    return float(value)


def _integer(name: str, value: JsonValue, minimum: int, maximum: int | None = None) -> int | None:
    """An integer within bounds; null counts as not given."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidParameter(name, "expected an integer.", "invalid_type")
    if value < minimum:
        raise InvalidParameter(
            name, f"expected at least {minimum}, but got {value}.", "integer_below_min_value"
        )
    if maximum is not None and value > maximum:
        raise InvalidParameter(
            name, f"expected at most {maximum}, but got {value}.", "integer_above_max_value"
        )
    return value
