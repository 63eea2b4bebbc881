"""One call on its way through an engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engines.calls import EncodedImage, EngineCall, EngineOptions, EngineResult
from engines.errors import EngineFault, EngineLeaving
from engines.recycling import Recycling
from engines.schema import PipelineSchema
from engines.time_limit import TimedStop

if TYPE_CHECKING:
    from engines.generation import Generated
    from engines.loading import LoadedModel


class Run:
    """One call on its way through the pipeline's thread, with its stop flag and its clock."""

    def __init__(
        self,
        model: LoadedModel,
        schema: PipelineSchema,
        call: EngineCall,
        options: EngineOptions,
        *,
        arrived: float,
        recycling: Recycling,
    ) -> None:
        from engines.metrics import Meter

        self.call = call
        self.stop = TimedStop(call.deadline_seconds, since=arrived)
        self.load_seconds = 0.0
        self.encode_seconds = 0.0
        self.on_step: Callable[[int, int], None] = _ignore
        self.on_preview: Callable[[int, Any], None] | None = None
        self._model = model
        self._schema = schema
        self._options = options
        self._arrived = arrived
        self._recycling = recycling
        self._queue_seconds = 0.0
        self._meter = Meter(device=model.device)

    def __call__(self) -> Generated:
        """Runs in the pipeline's thread.

        Raises:
            EngineLeaving: a call before this one has shown that the process is of no use any more.
            DeadlineExceeded: the call's time was over, before it began or at a step.
        """
        if self._recycling.due:
            raise EngineLeaving(self._model.card.name)
        self._queue_seconds = time.monotonic() - self._arrived - self.load_seconds
        try:
            with self._meter, self.stop.told_apart():
                generated = self._generated()
        except EngineFault as error:
            self._recycling.failed(error, given_back=self._model.occupancy.given_back())
            raise
        self._recycling.drawn()
        self._model.occupancy.saw_resident(self._meter.resident_peak)
        return generated

    def result(self, generated: Generated, images: tuple[EncodedImage, ...]) -> EngineResult:
        """Put the answer together."""
        metrics = self._meter.finish(
            queue_seconds=self._queue_seconds,
            load_seconds=self.load_seconds,
            inference_seconds=generated.inference_seconds,
            encode_seconds=self.encode_seconds,
            steps=generated.steps,
        )
        return EngineResult(
            images=images,
            parameters=generated.parameters,
            metrics=metrics,
            prompt_tokens=generated.prompt_tokens,
            memory_bytes=self._model.occupancy.most,
            notes=generated.notes,
        )

    def _generated(self) -> Generated:
        from engines.generation import generate

        return generate(
            self._model,
            self._schema,
            self.call,
            options=self._options,
            stop=self.stop,
            on_step=self.on_step,
            on_preview=self.on_preview,
        )


def _ignore(step: int, total: int) -> None:
    """A caller who waits for the result alone is told of no steps."""
