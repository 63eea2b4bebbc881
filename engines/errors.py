"""Every error an engine raises, in one tree.

Whose fault an error is, is decided by its class::

    EngineError
    ├── InvalidRequest              the caller's fault: repeating the call cannot help
    │   ├── UnknownModel
    │   ├── UnknownParameter
    │   ├── MissingParameter
    │   ├── InvalidParameter
    │   └── InvalidImage
    │       ├── UnsupportedImageType
    │       └── InvalidMask
    ├── EngineFault                 ours, or the model's
    │   ├── NotLoadable             the checkpoint cannot be opened by this version
    │   ├── LoadFailed              it should have opened, and did not
    │   ├── GenerationFailed
    │   │   ├── BrokenPicture       what was computed are no numbers
    │   │   └── DeviceFailed        the GPU computes nothing more for this process
    │   ├── OutOfMemory
    │   └── HostMemoryExhausted     the process was ended, because its machine's memory was full
    ├── StorageFailed               pictures or files cannot be kept, or read back
    ├── GenerationStopped           somebody asked for the run to end
    ├── DeadlineExceeded            the time that the caller has given is over
    └── Unavailable                 for now: the same call can succeed later
        ├── ModelLoading
        ├── EngineBusy
        ├── EngineLeaving           the engine is going to sleep and takes no new work
        └── EngineLost              its process died under the call

Every argument reaches ``Exception.__init__`` and the text is built in ``__str__``: Ray rebuilds an
exception from ``args`` on the other side of a handle, and turns one that it cannot rebuild into an
anonymous failure.
"""

from __future__ import annotations

from collections.abc import Sequence

from engines.exhaustion import Shortage


class EngineError(Exception):
    """The root of all errors of this project's own making."""


class InvalidRequest(EngineError):
    """The request cannot be served as it stands."""

    @property
    def parameter(self) -> str | None:
        """Name of the offending request field, where there is one."""
        return None


class UnknownModel(InvalidRequest):
    """No model of this name is deployed."""

    def __init__(self, model: str, known: Sequence[str]) -> None:
        super().__init__(model, tuple(known))
        self.model = model
        self.known = tuple(known)

    @property
    def parameter(self) -> str:
        return "model"

    def __str__(self) -> str:
        names = ", ".join(repr(name) for name in self.known) or "none"
        return f"The model {self.model!r} does not exist. Models served here: {names}."


class UnknownParameter(InvalidRequest):
    """The model has no such parameter."""

    def __init__(self, name: str, near: Sequence[str], accepted: Sequence[str], hint: str = "") -> None:
        super().__init__(name, tuple(near), tuple(accepted), hint)
        self.name = name
        self.near = tuple(near)
        self.accepted = tuple(accepted)
        self.hint = hint

    @property
    def parameter(self) -> str:
        return self.name

    def __str__(self) -> str:
        text = f"Unknown parameter: {self.name!r}."
        if self.hint:
            text += f" {self.hint}"
        if self.near:
            text += f" Did you mean {' or '.join(repr(name) for name in self.near)}?"
        return f"{text} This model accepts: {', '.join(self.accepted)}."


class MissingParameter(InvalidRequest):
    """A required parameter was not given."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    @property
    def parameter(self) -> str:
        return self.name

    def __str__(self) -> str:
        return f"Missing required parameter: {self.name!r}."


class InvalidParameter(InvalidRequest):
    """A parameter's value is of the wrong type or out of range.

    ``code`` is the field's own word for the fault: ``invalid_type``, ``invalid_value``,
    ``integer_below_min_value``, ``empty_string`` and the like.
    """

    def __init__(self, name: str, reason: str, code: str = "invalid_value") -> None:
        super().__init__(name, reason, code)
        self.name = name
        self.reason = reason
        self.code = code

    @property
    def parameter(self) -> str:
        return self.name

    def __str__(self) -> str:
        return f"Invalid {self.name!r}: {self.reason}"


class InvalidImage(InvalidRequest):
    """An image given as input cannot be decoded, or is larger than allowed.

    ``number`` counts the pictures of an edit from 1; with it the text is OpenAI's.
    """

    def __init__(self, name: str, reason: str, number: int | None = None) -> None:
        super().__init__(name, reason, number)
        self.name = name
        self.reason = reason
        self.number = number

    @property
    def parameter(self) -> str:
        return self.name

    def __str__(self) -> str:
        if self.number is None:
            return f"Invalid image in {self.name!r}: {self.reason}"
        return (
            f"Invalid image file or mode for image {self.number}, please check your image file: {self.reason}"
        )


class UnsupportedImageType(InvalidImage):
    """A file given as an image is none, or of a kind that is not read; ``reason`` is its media type."""

    def __str__(self) -> str:
        return (
            f"Invalid file {self.name!r}: unsupported mimetype ({self.reason!r}). "
            "Supported file formats are 'image/jpeg', 'image/png', 'image/webp', 'image/gif' and 'image/bmp'."
        )


class InvalidMask(InvalidImage):
    """A mask is a picture, and yet none that says what to repaint."""

    def __str__(self) -> str:
        return f"Invalid mask image format - {self.reason}"


class EngineFault(EngineError):
    """The engine could not do what it should be able to do."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, reason)
        self.model = model
        self.reason = reason


class NotLoadable(EngineFault):
    """The checkpoint was recognised, and this version cannot open it."""

    def __str__(self) -> str:
        return f"{self.model}: not loadable: {self.reason}"


class LoadFailed(EngineFault):
    """Loading the model failed; the reason is in words.

    ``retry_after_seconds`` is how long the gateway will not try again, where it is known.
    """

    def __init__(self, model: str, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(model, reason)
        self.args = (model, reason, retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"The model {self.model!r} could not be loaded: {self.reason}"


class GenerationFailed(EngineFault):
    """The pipeline raised while it ran."""

    def __str__(self) -> str:
        return f"The model {self.model!r} failed while generating: {self.reason}"


class BrokenPicture(GenerationFailed):
    """What came out has values that are no numbers; ``where`` they were found, computed in ``dtype``."""

    def __init__(self, model: str, where: str, dtype: str) -> None:
        super().__init__(model, f"the {where} hold values that are no numbers (NaN or infinite)")
        self.args = (model, where, dtype)
        self.where = where
        self.dtype = dtype

    def __str__(self) -> str:
        return f"The model {self.model!r} drew a broken picture: {self.reason}. {self._advice}"

    @property
    def _advice(self) -> str:
        others = "another scheduler, a smaller guidance scale or another number of steps"
        if self.dtype != "float16":
            return f"What may help: {others}."
        return f"What may help: --dtype bfloat16 or float32, as float16 overflows at 65504; {others}."


class DeviceFailed(GenerationFailed):
    """The GPU has failed in a way that only a new process cures; the engine is replaced by one."""

    def __str__(self) -> str:
        return f"{super().__str__()}. The GPU computes nothing more for this process: a new one takes over."


class OutOfMemory(EngineFault):
    """The device ran out of memory; smaller or fewer images may fit.

    ``shortage`` says what was asked for and what may fit, where that is known.
    """

    def __init__(self, model: str, reason: str, shortage: Shortage | None = None) -> None:
        super().__init__(model, reason)
        self.args = (model, reason, shortage)
        self.shortage = shortage

    def __str__(self) -> str:
        words = self.reason if self.shortage is None else self.shortage
        return f"The model {self.model!r} ran out of memory: {words}"


class HostMemoryExhausted(EngineFault):
    """The engine's process was ended, because its machine was running out of memory."""

    def __init__(self, model: str) -> None:
        super().__init__(model, "its machine was running out of memory")
        self.args = (model,)

    def __str__(self) -> str:
        return (
            f"The engine of {self.model!r} was ended: {self.reason}. A smaller picture, or fewer of them at "
            "once, takes less."
        )


class ModerationBlocked(InvalidRequest):
    """The model's safety checker objects to what was drawn; nothing of it is handed out."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return (
            "Your request was rejected by the safety system: the safety checker of the model "
            f"{self.model!r} objects to the picture drawn. Change the prompt or the seed."
        )


class StorageFailed(EngineError):
    """What should be kept cannot be ``doing`` (written, read), for a reason in words."""

    def __init__(self, doing: str, reason: str) -> None:
        super().__init__(doing, reason)
        self.doing = doing
        self.reason = reason

    def __str__(self) -> str:
        return f"The storage cannot be {self.doing}: {self.reason}."


class GenerationStopped(EngineError):
    """The run was ended at a step's boundary because somebody asked for it.

    ``step`` is the last that was made, ``None`` where that is not known.
    """

    def __init__(self, model: str | None, step: int | None) -> None:
        super().__init__(model, step)
        self.model = model
        self.step = step

    def __str__(self) -> str:
        who = "" if self.model is None else f" by {self.model!r}"
        how_far = " on request" if self.step is None else f" after step {self.step}"
        return f"The generation{who} was stopped{how_far}."


class DeadlineExceeded(EngineError):
    """The request was not finished within the time that it was given, in seconds.

    ``doing`` says where it was, in words; ``step`` of ``total`` were made, where that is known.
    """

    def __init__(self, seconds: float, doing: str, step: int | None = None, total: int | None = None) -> None:
        super().__init__(seconds, doing, step, total)
        self.seconds = seconds
        self.doing = doing
        self.step = step
        self.total = total

    def __str__(self) -> str:
        of_all = "" if self.total is None else f" of {self.total}"
        made = "" if self.step is None else f", step {self.step}{of_all} was made"
        return f"The request was not finished within {self.seconds:g} s: it was {self.doing}{made}."


class Unavailable(EngineError):
    """Not now: the same request can succeed later."""

    retry_after_seconds: float = 1.0


class ModelLoading(Unavailable):
    """The model is being loaded and the caller's patience has ended."""

    def __init__(self, model: str, progress: float | None, retry_after_seconds: float) -> None:
        super().__init__(model, progress, retry_after_seconds)
        self.model = model
        self.progress = progress
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        done = "" if self.progress is None else f" ({self.progress:.0%} done)"
        return (
            f"The model {self.model!r} is still loading{done}. "
            f"Try again in {max(1, round(self.retry_after_seconds))} s."
        )


class EngineBusy(Unavailable):
    """The model's queue is full."""

    def __init__(self, model: str, queued: int, retry_after_seconds: float) -> None:
        super().__init__(model, queued, retry_after_seconds)
        self.model = model
        self.queued = queued
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return (
            f"The model {self.model!r} is busy: {self.queued} requests are waiting. "
            f"Try again in {max(1, round(self.retry_after_seconds))} s."
        )


class EngineLeaving(Unavailable):
    """The engine is going to sleep; another one must be woken."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"The engine of {self.model!r} is going to sleep."


class EngineLost(Unavailable):
    """The engine's process died, or its node went, while the call was in its hands."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"The engine of {self.model!r} was lost while it worked on the request."
