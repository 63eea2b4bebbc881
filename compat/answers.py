"""The shapes of OpenAI's answers, as types: what the OpenAPI document says of them is made of these.

What this gateway adds to an answer of OpenAI's stands in the same object.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from engines.calls import ComputeMetrics

Base64 = Annotated[str, Field(description="A picture, as base64.", json_schema_extra={"format": "byte"})]
UnixSeconds = Annotated[int, Field(description="Unix seconds.")]
Pixels = Annotated[str, Field(description="WIDTHxHEIGHT, in pixels.", pattern=r"^\d+x\d+$")]
Seed = Annotated[int, Field(description="Draws the same picture again.")]
Background = Literal["opaque", "transparent"]
Quality = Annotated[
    Literal["low", "medium", "high", "xhigh", "max"], Field(description="The word that was resolved.")
]
Format = Literal["png", "jpeg", "webp", "gif"]
Parameters = Annotated[
    dict[str, Any], Field(description="The values really used, under the model's own names.")
]


class ErrorObject(TypedDict):
    """What went wrong, in the words that OpenAI's clients read."""

    message: str
    type: str
    param: Annotated[str | None, Field(description="The field at fault.")]
    code: str | None


class Error(TypedDict):
    """Every failing answer, from whatever layer."""

    error: ErrorObject


class InputTokens(TypedDict):
    """Tokens of what was sent in."""

    text_tokens: int
    image_tokens: int


class OutputTokens(TypedDict):
    """Tokens of what was drawn."""

    text_tokens: int
    image_tokens: int


class Usage(TypedDict):
    """Text tokens as the model's tokenizer counts them, and one token for each patch of a picture."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputTokens
    output_tokens_details: OutputTokens


class IgnoredField(TypedDict):
    """A field of the request that had no effect."""

    field: str
    reason: str


AdjustedField = TypedDict(
    "AdjustedField",
    {"field": str, "from": str, "to": str, "reason": str},
)
"""A field of the request that was honoured in another way than by its plain value."""


class Image(TypedDict):
    """A finished picture: inside the answer, behind a URL, or both."""

    b64_json: NotRequired[Base64]
    url: NotRequired[Annotated[str, Field(description="Where it can be fetched until it expires.")]]
    seed: Seed


class _Told(TypedDict):
    usage: Usage
    model: str
    parameters: Parameters
    ignored: list[IgnoredField]
    adjusted: list[AdjustedField]
    notes: Annotated[list[str], Field(description="Remarks on the pictures, as on one of a single colour.")]
    compute_metrics: ComputeMetrics


class ImagesResponse(_Told):
    """OpenAI's answer to an image call."""

    created: UnixSeconds
    data: list[Image]
    background: Background
    output_format: Format
    quality: Quality
    size: Pixels


class StreamedImage(TypedDict):
    """A picture in an event of a stream."""

    type: str
    b64_json: Base64
    created_at: UnixSeconds
    size: Pixels
    quality: Quality
    background: Background
    output_format: Format


class PartialImage(StreamedImage):
    """A picture of the way, counted from 0."""

    partial_image_index: int


class CompletedImage(StreamedImage, _Told):
    """The finished picture: the last event of a stream."""

    seed: Seed


class StreamError(Error):
    """A failure after the stream has begun: the last event of a stream."""

    type: Literal["error"]


class Sizes(TypedDict):
    """The sizes a model makes; an empty list where any will do, in steps of ``multiple``."""

    default: Pixels | None
    supported: list[Pixels]
    multiple: int


class Model(TypedDict):
    """A model under one of its names; what is not known of another server's model is null."""

    id: str
    object: Literal["model"]
    created: UnixSeconds
    owned_by: str
    root: Annotated[str, Field(description="The model's own name, which `id` may be an alias of.")]
    state: Annotated[str, Field(description="Where it stands in its life cycle.")]
    progress: Annotated[
        float | None, Field(description="While it wakes: the share of its weights that is read, 0 to 1.")
    ]
    reason: Annotated[str | None, Field(description="Why it could not be loaded, where it could not.")]
    capabilities: list[str] | None
    sizes: Sizes | None
    schema_url: Annotated[str, Field(description="The path of its parameters.")]


class ModelList(TypedDict):
    """Every model, under its own name and under its aliases."""

    object: Literal["list"]
    data: list[Model]


class RemoteImagesResponse(TypedDict):
    """The answer of a model of another server, as it came: OpenAI's, with what this gateway adds."""

    data: list[dict[str, Any]]
    model: str
    compute_metrics: dict[str, Any]
