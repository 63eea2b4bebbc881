"""The shapes of the native routes' answers, as types: `gateway.native` fills them in, and what the
OpenAPI document says of them is made of these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from engines.calls import ComputeMetrics
from gateway import lifecycle

DataUri = Annotated[str, Field(description="A picture as a `data:` URI.", pattern="^data:image/")]
Share = Annotated[float | None, Field(ge=0, le=1, description="Of the weights, as far as it is known.")]
Seconds = Annotated[float | None, Field(ge=0)]
State = Annotated[str, Field(description=f"One of {', '.join(map(repr, map(str, lifecycle.State)))}.")]
Path = Annotated[str, Field(description="A path of this server.")]


class Generation(TypedDict):
    """A finished call."""

    status: Literal["success"]
    model: str
    image: DataUri
    images: list[DataUri]
    parameters: Annotated[dict[str, Any], Field(description="The values really used.")]
    notes: Annotated[list[str], Field(description="Remarks on the pictures, as on one of a single colour.")]
    compute_metrics: ComputeMetrics


class Loading(TypedDict):
    """The model is being loaded: ask `poll_url`, and call again when it is ready."""

    status: Literal["loading"]
    model: str
    state: State
    phase: str | None
    progress: Share
    elapsed_seconds: Seconds
    estimated_seconds: Seconds
    eta_seconds: Seconds
    retry_after_seconds: Annotated[int, Field(ge=1, le=60)]
    poll_url: str


class Health(TypedDict):
    """Where a model stands; `reason` says why its load failed."""

    status: Literal["healthy", "unhealthy"]
    model: str
    state: State
    phase: str | None
    component: str | None
    progress: Share
    bytes_loaded: int | None
    bytes_total: int | None
    elapsed_seconds: Seconds
    estimated_seconds: Annotated[float | None, Field(ge=0, description="Of a whole waking, as learned.")]
    eta_seconds: Annotated[float | None, Field(ge=0, description="Until it is ready, as far as is known.")]
    active_requests: int
    waiting_requests: int
    queue_position: Annotated[int | None, Field(ge=1, description="Of this very call, where it waits.")]
    reason: str | None


class EveryHealth(TypedDict):
    """Where every model stands."""

    status: Literal["healthy"]
    models: dict[str, Health]


class ModelRow(TypedDict):
    """A model and where its routes are; what is not known of another server's model is null."""

    model_id: str
    aliases: list[str]
    state: State
    family: str | None
    pipeline_class: str | None
    capabilities: list[str] | None
    dtype: str | None
    size_bytes: int | None
    schema_url: Path
    generate_url: Path
    health_url: Path


class ModelRows(TypedDict):
    """Models with their states."""

    models: list[ModelRow]


class Parameter(TypedDict):
    """A parameter that a request may set; `schema` is its JSON Schema."""

    name: str
    required: bool
    default: Any
    default_source: str
    annotation: str
    description: str
    schema: dict[str, Any]


class MethodParameters(TypedDict):
    """One way of calling a model; `hidden` parameters cannot be set, for the reasons given."""

    pipeline_class: str
    parameters: dict[str, Parameter]
    hidden: dict[str, str]


class Inputs(TypedDict):
    """Names of the model's parameters."""

    required: list[str]
    optional: list[str]


class Limits(TypedDict):
    """What one call may ask for."""

    max_images: int
    max_image_pixels: int


class ModelSchema(TypedDict):
    """What a model accepts; `json_schema` is that of a native request."""

    model_id: str
    pipeline_class: str
    family: str
    description: str
    capabilities: list[str]
    inputs: Inputs
    methods: dict[str, MethodParameters]
    defaults: dict[str, Any]
    size: dict[str, Any] | None
    limits: Limits
    notes: list[str]
    live: Annotated[bool, Field(description="Whether a load has completed the description.")]
    json_schema: dict[str, Any]


class RequestRow(TypedDict):
    """A request that is under way; `position` counts from 1 while it waits for its turn, steps are known
    of streams."""

    id: Annotated[str, Field(description="Its `x-request-id`.")]
    object: Literal["request"]
    model: Annotated[str | None, Field(description="Null while its body is being read.")]
    state: Literal["waiting", "running", "stopped"]
    position: int | None
    step: int | None
    total: int | None
    created_at: Annotated[int, Field(description="Unix seconds.")]
    elapsed_seconds: float
    remaining_seconds: Annotated[
        float | None, Field(description="Until it is ended, where it has a deadline.")
    ]


class RequestList(TypedDict):
    """The caller's own requests, the oldest first."""

    object: Literal["list"]
    data: list[RequestRow]


class Index(TypedDict):
    """What this server is, and where things are."""

    service: str
    version: str
    models: dict[str, Path]
    openai_base_url: Path
    openapi: Path


class WakingEvent(Health):
    """The model is being loaded."""

    type: Literal["waking"]


class ProgressEvent(TypedDict):
    """A step was made."""

    type: Literal["progress"]
    step: int
    total: int
    percent: float | None


class PreviewEvent(TypedDict):
    """A picture of the way, counted from 0."""

    type: Literal["preview"]
    index: int
    image: DataUri
