"""The outcome of mapping a request to a model: the call, and what became of each wish."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from engines.calls import EngineCall


class Operation(StrEnum):
    """What was asked for; the first part of the names of OpenAI's stream events."""

    GENERATION = "image_generation"
    EDIT = "image_edit"
    VARIATION = "image_variation"


@dataclass(frozen=True)
class Delivery:
    """How pictures are handed over: inside the answer, as URLs, or both."""

    b64_json: bool = True
    url: bool = False


@dataclass(frozen=True)
class Ignored:
    """A standard field that the model could not honour."""

    field: str
    reason: str


@dataclass(frozen=True)
class Adjusted:
    """A field that is honoured in another way than by its plain value."""

    field: str
    given: str
    used: str
    reason: str

    def as_json(self) -> dict[str, str]:
        """The wire form, whose keys are Python keywords."""
        return {"field": self.field, "from": self.given, "to": self.used, "reason": self.reason}


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """An engine call made of a request.

    ``quality`` is the word that was resolved, as answers state it (never ``auto``); ``stream`` asks for
    events instead of one answer; ``input_image_tokens`` counts the pictures that were sent in.
    """

    call: EngineCall
    operation: Operation = Operation.GENERATION
    delivery: Delivery = Delivery()
    stream: bool = False
    background: str = "opaque"
    input_image_tokens: int = 0
    ignored: tuple[Ignored, ...] = ()
    adjusted: tuple[Adjusted, ...] = ()
    quality: str = "high"

    def within_answer(self) -> Mapped:
        """The same, with the pictures inside the answer alone."""
        return replace(self, delivery=Delivery())
