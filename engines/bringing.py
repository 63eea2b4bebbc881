"""What brings a model to its device, in the pipeline's thread: the load with its warm-up, the way back."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from engines import warm_up
from engines.calls import EngineOptions, LoadPhase, LoadProgress
from engines.card import ModelCard
from engines.discovery import complete, discover
from engines.errors import LoadFailed
from engines.loading import LoadedModel, load
from engines.parking import Parked, refusal
from engines.schema import PipelineSchema
from engines.wording import described

_logger = logging.getLogger(__name__)

Report = Callable[[LoadProgress], None]


@dataclass(frozen=True)
class Brought:
    """A model on its device, its completed description, and the last report of the way there."""

    model: LoadedModel
    schema: PipelineSchema
    ready: LoadProgress


def load_and_warm_up(
    card: ModelCard, options: EngineOptions, report: Report, *, hurry: threading.Event
) -> Brought:
    """Load a model, complete its description, and warm it up where that is wanted.

    ``hurry`` leaves the warm-up out, or ends it.

    Raises:
        LoadFailed: with the reason in words.
    """
    model = load(card, options, report)
    schema = complete(discover(card, max_images=options.max_images), model.pipelines)
    # Half a million objects are here to stay: without this each full search for garbage takes 0.3 s.
    gc.freeze()
    note = None
    if warm_up.is_wanted(options, model.device) and not hurry.is_set():

        def on_step(*_: int) -> None:
            report(_all_read(card, LoadPhase.WARMING_UP))

        on_step()
        note = warm_up.warm_up(model, schema, options, stop=hurry, on_step=on_step)
    return _brought(model, schema, note)


def parkable(model: LoadedModel, options: EngineOptions) -> Parked | None:
    """The model's weights as they can be set aside; ``None``, and the reason in the log, where that is
    of no use."""
    reason = refusal(model, options)
    if reason is not None:
        _logger.info("%s is not parked: %s", model.card.name, reason)
        return None
    return Parked(model)


def set_aside(parked: Parked) -> bool:
    """Move the weights to the host; whether that has worked. What was not moved is where it was."""
    try:
        parked.park()
    except RuntimeError:
        _logger.warning("the weights could not be set aside", exc_info=True)
        return False
    return True


def come_back(model: LoadedModel, schema: PipelineSchema, parked: Parked, report: Report) -> Brought:
    """Bring the weights back that were set aside.

    Raises:
        LoadFailed: the device has no room for them any more.
    """

    def tell(moved: int, size: int) -> None:
        report(LoadProgress(phase=LoadPhase.LOADING, bytes_read=moved, bytes_total=size))

    try:
        parked.restore(tell)
    except RuntimeError as error:
        reason = f"its weights did not come back to {model.device}: {described(error)}"
        raise LoadFailed(model.card.name, reason) from error
    return _brought(model, schema, None)


def _brought(model: LoadedModel, schema: PipelineSchema, note: str | None) -> Brought:
    done, memory = _all_read(model.card, LoadPhase.READY), model.occupancy.look()
    return Brought(model, schema, replace(done, schema=schema, memory_bytes=memory, note=note))


def _all_read(card: ModelCard, phase: LoadPhase) -> LoadProgress:
    return LoadProgress(phase=phase, bytes_read=card.size, bytes_total=card.size)
