"""What becomes of every field, on every route, for every kind of model.

The docs page is written from this table (`compat.fields_page`), and a test holds the mapping against
it for every row, route and kind of model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as attribute
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from compat.assembly import NO_BEARING
from compat.mapped import Operation
from compat.vocabulary import OPENAI_FIELDS
from engines.schema import MethodSchema, PipelineSchema

Condition = Callable[[PipelineSchema, MethodSchema], bool]
"""Whether a case is that of this model and of the method that serves the route."""


class Decision(StrEnum):
    """What becomes of a value."""

    HONOURED = "honoured"
    """It means what it means at OpenAI's."""
    MAPPED = "mapped"
    """It becomes something of the model's own."""
    IGNORED = "ignored"
    """It has no effect, and the answer's ``ignored`` says so."""
    REFUSED = "refused"
    """400, naming it."""


@dataclass(frozen=True)
class Case:
    """A decision, in which case it is taken (``None``: in every other), and what it comes to."""

    decision: Decision
    text: str
    where: Condition | None = None
    condition: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A field with values that are treated alike. ``example`` is one of them; ``also`` goes with it.

    ``neutral`` values say what would be so without them. ``strict`` is the decision of strict use
    where it is not the rule's (`strict_decision`).
    """

    field: str
    values: str
    example: Any
    generation: tuple[Case, ...]
    edit: tuple[Case, ...]
    variation: tuple[Case, ...]
    also: Mapping[str, Any] = attribute(default_factory=lambda: MappingProxyType({}))
    neutral: bool = False
    strict: Decision | None = None

    def cases(self, operation: Operation) -> tuple[Case, ...]:
        """What may become of it on one route; the first case that fits is taken."""
        return {
            Operation.GENERATION: self.generation,
            Operation.EDIT: self.edit,
            Operation.VARIATION: self.variation,
        }[operation]

    def decided(self, operation: Operation, schema: PipelineSchema, method: MethodSchema) -> Case:
        """What becomes of it on one route of one model."""
        return next(
            case for case in self.cases(operation) if case.where is None or case.where(schema, method)
        )


def strict_decision(row: Row, operation: Operation, case: Case) -> Decision:
    """What becomes of a case in strict use: what would be ignored is refused, and so is what OpenAI
    does not know; fields that could change no picture stay ignored."""
    if row.field not in OPENAI_FIELDS[operation]:
        return Decision.REFUSED
    if row.strict is not None:
        return row.strict
    if case.decision is Decision.IGNORED and row.field not in NO_BEARING:
        return Decision.REFUSED
    return case.decision


HONOURED: Final = Decision.HONOURED
MAPPED: Final = Decision.MAPPED
IGNORED: Final = Decision.IGNORED
REFUSED: Final = Decision.REFUSED
