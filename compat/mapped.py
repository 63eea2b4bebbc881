"""The outcome of mapping a request to a model: the call, and what became of each wish."""

from __future__ import annotations

from dataclasses import dataclass

from engines.calls import EngineCall


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

    ``quality`` is the word that was resolved, as answers state it (never ``auto``).
    """

    call: EngineCall
    ignored: tuple[Ignored, ...] = ()
    adjusted: tuple[Adjusted, ...] = ()
    quality: str = "high"
