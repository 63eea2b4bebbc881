"""What crosses the border between a gateway and an engine: the call, the progress, the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from pydantic import JsonValue

from engines.offloading import Offload
from engines.schema import Frozen, Method, PipelineSchema

LARGEST_SEED: Final = 2**53 - 1
"""The largest integer that survives JSON in JavaScript, so that a reported seed can be sent back."""

FRAMES: Final = 9
FRAME_MILLISECONDS: Final = 200
"""Of a GIF, where nothing is said; OpenAI's defaults."""


class ImageFormat(StrEnum):
    """Encodings an engine can answer with."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    GIF = "gif"
    """The denoising as frames, see `EngineCall.frames`."""

    @property
    def media_type(self) -> str:
        return f"image/{self.value}"


class EngineOptions(Frozen):
    """How one engine is run. ``None`` lets the engine choose and say why.

    ``threads`` are torch's on the CPU; ``batch_size`` images are denoised together (1 keeps every
    image exactly the one its seed makes alone); ``max_image_pixels`` bounds an input image;
    ``moderation`` loads the model's own safety checker and refuses the pictures that it objects to;
    ``offload`` says which weights wait outside the GPU, ``quantize`` which components are loaded with fewer
    bits (name to kind); ``cache_folder`` is where converted models lie; without ``allow_pickles`` no
    pickle is opened.

    ``num_gpus`` and ``resources`` (Ray's own, by name) are what a replica reserves of the cluster.
    ``memory_gb`` is the device memory that the model is declared to need, in 2**30 bytes; it is believed
    until the engine has measured more. ``keep_warm`` asks for a model that is never sent to sleep for
    others or for being idle. ``warm_up`` draws one small picture at the end of the load, so that the first
    caller does not pay for what happens once (``None``: on a GPU). A load that makes no progress for
    ``load_timeout_seconds`` has failed.
    """

    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    threads: int | None = None
    batch_size: int = 1
    max_images: int = 10
    max_image_pixels: int = 64_000_000
    moderation: bool = False
    offload: Offload = Offload.NONE
    quantize: dict[str, str] = {}
    cache_folder: str | None = None
    allow_pickles: bool = True
    num_gpus: float | None = None
    resources: dict[str, float] = {}
    memory_gb: float | None = None
    keep_warm: bool = False
    warm_up: bool | None = None
    load_timeout_seconds: float = 600.0
    max_replicas: int = 1
    idle_seconds: float = 300.0
    max_queued: int = 64

    @property
    def ongoing(self) -> int:
        """How many requests are sent to the replicas at once: one drawn and one at hand for each, and one
        more by which a load is seen that wants another replica."""
        return 2 * self.max_replicas + (self.max_replicas > 1)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An input picture that was checked: its file's bytes, its size in pixels the right way up.

    Of an ``animated`` one only the first frame is used.
    """

    data: bytes = field(repr=False)
    width: int
    height: int
    has_alpha: bool = False
    animated: bool = False


@dataclass(frozen=True, kw_only=True)
class EngineCall:
    """One request to an engine.

    ``parameters`` are native ones, checked by `engines.validation`; ``count`` images are made for
    each prompt; image i is drawn from ``seed`` + i (a random seed where it is ``None``).
    ``resize_to`` (width, height) asks for the finished images to be resampled, ``fit_inputs`` for
    the pictures that are given to be, before the pipeline sees them. With ``keep_unmasked`` an
    inpainting gives back the input's own pixels where the mask is black. ``opaque`` puts a picture that
    has transparency on white. ``previews`` pictures of
    the way, evenly spread over the steps, are sent by ``Engine.stream`` in ``format``. With the format
    GIF an image becomes ``frames`` frames of its denoising, ``frame_milliseconds`` each, the last being
    the finished picture. A call that is not finished ``deadline_seconds`` after it has arrived is ended.
    """

    request_id: str
    method: Method
    parameters: dict[str, JsonValue]
    count: int = 1
    seed: int | None = None
    format: ImageFormat = ImageFormat.PNG
    compression: int | None = None
    resize_to: tuple[int, int] | None = None
    fit_inputs: tuple[int, int] | None = None
    keep_unmasked: bool = False
    opaque: bool = False
    previews: int = 0
    frames: int = FRAMES
    frame_milliseconds: int = FRAME_MILLISECONDS
    deadline_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """A finished picture: encoded bytes, its size in pixels and the seed that made it."""

    data: bytes
    format: ImageFormat
    width: int
    height: int
    seed: int


class ComputeMetrics(Frozen):
    """What one request cost. Seconds, megabytes (2**20 bytes), percent, joules.

    CPU percent is of one core and may exceed 100. Everything about a GPU is ``None`` without one.
    ``*_percent`` of the GPU are means over samples taken every ``sample_interval_seconds``;
    ``*_peak`` are the highest sample. Sources: psutil, NVML, torch.cuda.
    """

    query_duration_seconds: float
    queue_seconds: float
    load_seconds: float
    inference_seconds: float
    encode_seconds: float
    steps: int
    replica_cpu_percent: float
    replica_memory_mb: float
    replica_memory_peak_mb: float
    replica_gpu_memory_allocated_mb: float | None = None
    replica_gpu_memory_reserved_mb: float | None = None
    replica_gpu_memory_total_mb: float | None = None
    replica_gpu_memory_used_mb: float | None = None
    replica_gpu_utilization_percent: float | None = None
    replica_gpu_utilization_peak_percent: float | None = None
    gpu_energy_joules: float | None = None
    sample_interval_seconds: float


@dataclass(frozen=True, kw_only=True)
class EngineResult:
    """The answer to an `EngineCall`: pictures, the values really used, what it cost.

    ``memory_bytes`` is the most that this engine has needed of its device so far, the peak while drawing
    included; ``None`` where it was not measured. ``notes`` are remarks about the pictures, in words.
    """

    images: tuple[EncodedImage, ...]
    parameters: dict[str, JsonValue]
    metrics: ComputeMetrics
    prompt_tokens: int | None = None
    memory_bytes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepProgress:
    """A step was made: the ``step``-th, counted from 1, of ``total`` over all images of the call."""

    step: int
    total: int


@dataclass(frozen=True)
class Preview:
    """A picture of the way, the ``index``-th, counted from 0."""

    index: int
    image: EncodedImage


EngineEvent = StepProgress | Preview | EngineResult
"""What ``Engine.stream`` yields; the result is the last."""


class LoadPhase(StrEnum):
    """Where a load stands."""

    STARTING = "starting"
    IMPORTING = "importing"
    DOWNLOADING = "downloading"
    CONVERTING = "converting"
    """Original weights are made into the form that loads fast; once for each model."""
    LOADING = "loading"
    WARMING_UP = "warming_up"
    """The weights are there; one picture is drawn that nobody sees."""
    READY = "ready"
    FAILED = "failed"
    PARKED = "parked"
    """The weights wait in the host's memory. Told to those who only look; others have them brought back."""


@dataclass(frozen=True, kw_only=True)
class LoadProgress:
    """One report of a load. ``bytes_read`` of ``bytes_total`` weights are in memory (or, in the phases
    before, fetched or converted)."""

    phase: LoadPhase
    component: str | None = None
    bytes_read: int = 0
    bytes_total: int = 0
    elapsed_seconds: float = 0.0
    reason: str | None = None
    """Why it failed, in words."""
    schema: PipelineSchema | None = field(default=None, repr=False)
    """The completed description, with READY."""
    memory_bytes: int | None = None
    """What the loaded model needs on its device, measured after the warm-up, with READY."""
    gpus: float | None = None
    """What this engine has reserved of its node's GPUs, with READY; ``None`` outside a cluster."""
    note: str | None = None
    """What did not go as meant and did not stop the load, in words, with READY."""
