"""The table of `compat.decisions`, row by row."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from compat.conditions import (
    combines_pictures,
    has_steps,
    has_strength,
    inpaints,
    is_guided,
    is_sizeless,
    makes,
    may_resample,
    takes_picture,
    takes_text,
)
from compat.decisions import HONOURED, IGNORED, MAPPED, REFUSED, Case, Row

_UNKNOWN: Final = (Case(REFUSED, "not a field of this route"),)

_TEXT: Final = (
    Case(HONOURED, "the pipeline's prompt", takes_text, "the model takes text"),
    Case(IGNORED, "the model takes no text"),
)
_STEPS: Final = (
    Case(MAPPED, "a number of steps relative to the default", has_steps, "the model has adjustable steps"),
    Case(IGNORED, "no adjustable steps"),
)
_STYLE: Final = (
    Case(MAPPED, "a guidance scale relative to the default", is_guided, "the model draws with guidance"),
    Case(IGNORED, "no guidance"),
)
_FIDELITY: Final = (
    Case(MAPPED, "a strength", has_strength, "the model has a strength"),
    Case(IGNORED, "no strength"),
)
SAMPLE_SIZE: Final = (512, 512)
_makes = partial(makes, SAMPLE_SIZE)
_SIZE: Final = (
    Case(HONOURED, "drawn", _makes, "the model makes it"),
    Case(MAPPED, "drawn at the best size and resampled", may_resample, "its preset allows resampling"),
    Case(IGNORED, "the model's own", is_sizeless, "the model takes no size"),
    Case(REFUSED, "naming the sizes it makes"),
)
_EDIT_SIZE: Final = (
    Case(MAPPED, "drawn at the picture's own size and resampled", is_sizeless, "the model takes no size"),
    *(case for case in _SIZE if case.where is not is_sizeless),
)


def _everywhere(field: str, values: str, example: Any, *cases: Case, **more: Any) -> Row:
    return Row(
        field=field, values=values, example=example, generation=cases, edit=cases, variation=cases, **more
    )


def _not_varied(field: str, values: str, example: Any, *cases: Case, **more: Any) -> Row:
    return Row(
        field=field, values=values, example=example, generation=cases, edit=cases, variation=_UNKNOWN, **more
    )


_UNRECORDED: Final = Case(IGNORED, "recorded nowhere")
_PLAIN: Final = Case(HONOURED, "")
_SAME: Final = Case(HONOURED, "what every model does")

TABLE: Final[tuple[Row, ...]] = (
    _everywhere("model", "name or alias", "dall-e-3", Case(HONOURED, "left out: the default model")),
    Row(
        field="prompt",
        values="1 to 32,000 characters",
        example="a red fox",
        generation=_TEXT,
        edit=_TEXT,
        variation=(
            Case(HONOURED, "the model's own parameter; empty otherwise", takes_text, "the model takes text"),
            *_UNKNOWN,
        ),
    ),
    Row(
        field="image",
        values="one picture",
        example="picture",
        generation=(
            Case(
                HONOURED,
                "the model's own parameter, as base64",
                takes_picture,
                "the model's own call takes a picture",
            ),
            *_UNKNOWN,
        ),
        edit=(Case(HONOURED, "`images` in JSON, `image` or `image[]` in a form"),),
        variation=(_PLAIN,),
    ),
    Row(
        field="images",
        values="2 to 16 pictures",
        example="pictures",
        generation=_UNKNOWN,
        edit=(
            Case(HONOURED, "", combines_pictures, "the model combines pictures"),
            Case(REFUSED, "saying how many it takes"),
        ),
        variation=_UNKNOWN,
    ),
    Row(
        field="mask",
        values="a picture",
        example="mask",
        generation=_UNKNOWN,
        edit=(
            Case(HONOURED, "the part with alpha 0 is painted", inpaints, "the model inpaints"),
            Case(REFUSED, "a mask is never ignored"),
        ),
        variation=_UNKNOWN,
    ),
    Row(
        field="mask_feather",
        values="0 to 256 pixels, with `mask`",
        example=8,
        also={"mask": "mask"},
        generation=_UNKNOWN,
        edit=(
            Case(HONOURED, "softens the mask's edge", inpaints, "the model inpaints"),
            Case(REFUSED, "with its mask"),
        ),
        variation=_UNKNOWN,
    ),
    Row(
        field="mask_feather",
        values="without `mask`",
        example=8,
        generation=_UNKNOWN,
        edit=(Case(IGNORED, "only with mask"),),
        variation=_UNKNOWN,
    ),
    Row(
        field="markup",
        values="a picture",
        example="mask",
        generation=_UNKNOWN,
        edit=(Case(REFUSED, "use `mask`"),),
        variation=_UNKNOWN,
    ),
    Row(
        field="input_fidelity",
        values="`high`, `low`",
        example="high",
        generation=_UNKNOWN,
        edit=_FIDELITY,
        variation=_FIDELITY,
    ),
    _everywhere("n", "1 to 10, or the model's own limit", 2, Case(HONOURED, "image i has seed + i")),
    Row(
        field="size",
        values="`auto`",
        example="auto",
        generation=(Case(HONOURED, "the model's default"),),
        edit=(Case(HONOURED, "the picture's own, or the nearest that the model makes"),),
        variation=(Case(HONOURED, "the picture's own, or the nearest that the model makes"),),
        neutral=True,
    ),
    Row(
        field="size",
        values="`WIDTHxHEIGHT`",
        example=f"{SAMPLE_SIZE[0]}x{SAMPLE_SIZE[1]}",
        generation=_SIZE,
        edit=_EDIT_SIZE,
        variation=_EDIT_SIZE,
    ),
    _everywhere("quality", "`low`, `medium`, `high`, `xhigh`, `max`", "low", *_STEPS),
    _everywhere("quality", "`auto`", "auto", Case(HONOURED, "the model's default steps"), neutral=True),
    _everywhere("quality", "`standard` (as `high`), `hd` (as `xhigh`)", "hd", *_STEPS, strict=REFUSED),
    _everywhere("style", "`vivid`, `natural`", "vivid", *_STYLE),
    _everywhere("background", "`opaque`, `auto`", "opaque", _SAME, neutral=True),
    _everywhere(
        "background",
        "`transparent`",
        "transparent",
        Case(REFUSED, "unless the autoencoder makes alpha"),
    ),
    _everywhere("output_format", "`png`", "png", Case(HONOURED, "the default"), neutral=True),
    _everywhere("output_format", "`jpeg`, `webp`", "webp", _PLAIN),
    _everywhere("output_format", "`gif`", "gif", Case(HONOURED, "the denoising as frames")),
    _everywhere("output_format", "`svg`", "svg", Case(REFUSED, "pixels are drawn, not vectors")),
    _everywhere(
        "output_compression", "0 to 100, with `jpeg` or `webp`", 40, _PLAIN, also={"output_format": "jpeg"}
    ),
    _everywhere("output_compression", "100 with `png` or `gif`", 100, _SAME, neutral=True),
    _everywhere("output_compression", "below 100 with `png` or `gif`", 40, Case(REFUSED, "as OpenAI does")),
    _everywhere("frame_count", "2 to 16, with `gif`", 3, _PLAIN, also={"output_format": "gif"}),
    _everywhere("frame_count", "without `gif`", 3, Case(IGNORED, "only with `output_format=gif`")),
    _everywhere(
        "frame_duration_ms",
        "from 1, with `gif`",
        90,
        Case(HONOURED, "at most 655,350"),
        also={"output_format": "gif"},
    ),
    _everywhere("frame_duration_ms", "without `gif`", 90, Case(IGNORED, "only with `output_format=gif`")),
    _everywhere("response_format", "`b64_json`", "b64_json", Case(HONOURED, "that one only")),
    _everywhere(
        "response_format",
        "`url`",
        "url",
        Case(HONOURED, "that one only; refused where none are served"),
    ),
    _not_varied(
        "response_format",
        "`url`, with `stream`",
        "url",
        Case(IGNORED, "events carry base64"),
        also={"stream": True},
    ),
    _not_varied("stream", "`true`", True, _PLAIN),
    _not_varied("stream", "`false`", False, _SAME, neutral=True),
    _not_varied("stream", "`true`, with `n` above 1", True, Case(REFUSED, "as OpenAI does"), also={"n": 2}),
    _not_varied(
        "stream", "`true`, with `gif`", True, Case(REFUSED, "as OpenAI does"), also={"output_format": "gif"}
    ),
    _not_varied(
        "partial_images",
        "0 to 3, with `stream`",
        2,
        Case(HONOURED, "previews, evenly spread over the steps"),
        also={"stream": True},
    ),
    _not_varied("partial_images", "1 to 3, without `stream`", 2, Case(IGNORED, "only with `stream`")),
    _everywhere(
        "moderation",
        "`auto`, `low`",
        "low",
        Case(IGNORED, "unless served with `--moderation`"),
    ),
    _everywhere("user", "text", "u-1", _UNRECORDED),
    _everywhere("safety_identifier", "text", "s-1", _UNRECORDED),
    _not_varied("complexity", "`low`, `medium`, `high`", "low", Case(IGNORED, "the model plans no picture")),
    _not_varied("svg", "an object", {"model": "m"}, Case(IGNORED, "only for `output_format=svg`")),
    _everywhere(
        "seed",
        "0 to 2^53 - 1",
        7,
        Case(HONOURED, "makes the pictures repeatable"),
    ),
    _everywhere(
        "timeout",
        "seconds above 0",
        30,
        Case(HONOURED, "not finished by then, the call is ended with a 504"),
    ),
)
