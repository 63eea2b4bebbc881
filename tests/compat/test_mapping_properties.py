"""Whatever is asked of whatever model: a refusal that names a field, or a call that the model takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from compat.decisions import Decision, Row
from compat.errors import NamedModelLimit, Unsupported
from compat.field_table import TABLE
from compat.mapped import Mapped, Operation
from compat.policy import Policy, UnknownFields
from compat.sources import Upload
from compat.synonyms import FIELD_SYNONYMS, SYNONYMS
from compat.vocabulary import EXTENSIONS, OPENAI_FIELDS, READERS
from engines.errors import InvalidRequest
from engines.schema import PipelineSchema
from engines.validation import check
from tests.compat.kinds import KINDS
from tests.compat.requested import PLAIN, REFERENCE, ROUTES
from tests.properties import STEADY

KNOWN = {
    *(name for fields in (*OPENAI_FIELDS.values(), *EXTENSIONS.values()) for name in fields),
    *(spec.name for schema in KINDS.values() for method in schema.methods for spec in method.parameters),
    *SYNONYMS,
    *FIELD_SYNONYMS,
}
UNNAMED = (Unsupported, NamedModelLimit)
"""What OpenAI refuses without naming a field: two wishes that exclude each other."""

kinds = st.sampled_from(sorted(KINDS)).map(KINDS.__getitem__)
operations = st.sampled_from(list(Operation))
policies = st.builds(Policy, strict=st.booleans(), unknown_fields=st.sampled_from(UnknownFields))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
values = st.recursive(
    scalars | st.sampled_from([REFERENCE, [REFERENCE], "512x512", "64x64", "auto", "1", "true", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def fitting(name: str) -> st.SearchStrategy[Any]:
    """Values that a field may well have."""
    reader = READERS.get(name)
    if reader is not None and "enum" in reader.schema:
        return st.sampled_from(reader.schema["enum"])
    if reader is not None and reader.schema["type"] == "integer":
        least = reader.schema["minimum"]
        return st.integers(least, reader.schema.get("maximum", least + 100))
    shapes: dict[str, st.SearchStrategy[Any]] = {
        "stream": st.booleans(),
        "size": st.sampled_from(["auto", "128x128", "512x512", "1024x1024", "1000x700"]),
        "svg": st.just({"model": "m"}),
        "image": st.just(REFERENCE),
        "images": st.lists(st.just(REFERENCE), min_size=1, max_size=3),
        "mask": st.just(REFERENCE),
        "width": st.sampled_from([64, 128, 512, 1024]),
        "height": st.sampled_from([64, 128, 512, 1024]),
    }
    numbers = st.integers(0, 60) | st.floats(0, 20)
    return shapes.get(name, numbers if name not in ("model", "prompt", "user") else st.text(max_size=8))


@st.composite
def bodies(draw: st.DrawFn, operation: Operation) -> dict[str, Any]:
    """A request with a few fields, most of them known and most of them well filled."""
    body = dict(PLAIN[operation]) if draw(st.integers(0, 9)) else {}
    names = st.one_of(st.sampled_from(sorted(KNOWN)), st.sampled_from(sorted(KNOWN)), st.text(max_size=8))
    for name in draw(st.lists(names, max_size=6)):
        body[name] = draw(fitting(name) if draw(st.integers(0, 4)) else values)
    return body


@dataclass(frozen=True)
class Refusal:
    """A request that was refused."""

    kind: type[InvalidRequest]
    parameter: str | None
    text: str


def outcome(
    operation: Operation, schema: PipelineSchema, body: Mapping[str, Any], **more: Any
) -> Mapped | Refusal:
    """What became of a request; anything but a refusal is raised."""
    try:
        return ROUTES[operation](schema, body, **more)
    except InvalidRequest as error:
        return Refusal(type(error), error.parameter, str(error))


def assert_sound(found: Mapped | Refusal, schema: PipelineSchema, body: Mapping[str, Any]) -> None:
    """Assert that a refusal names a field, or that the model takes the call."""
    if isinstance(found, Mapped):
        assert_callable(found, schema)
        return
    assert found.text
    if found.parameter is None:
        assert issubclass(found.kind, UNNAMED)
    else:
        field = found.parameter.partition("[")[0].partition(".")[0]
        assert field in KNOWN or found.parameter in body


def assert_callable(mapped: Mapped, schema: PipelineSchema) -> None:
    """Assert that the model takes the call."""
    method = schema.method(mapped.call.method)
    assert method is not None
    assert check(method, mapped.call.parameters) == mapped.call.parameters
    assert 1 <= mapped.call.count <= 10
    assert mapped.delivery.b64_json or mapped.delivery.url


@STEADY
@given(st.data(), operations, kinds, policies)
def test_any_body_is_refused_by_name_or_becomes_a_call_that_the_model_takes(
    data: st.DataObject, operation: Operation, schema: PipelineSchema, policy: Policy
) -> None:
    body = data.draw(bodies(operation))
    found = outcome(operation, schema, body, policy=policy)
    assert outcome(operation, schema, body, policy=policy) == found
    assert_sound(found, schema, body)


@STEADY
@given(st.data(), operations, kinds)
def test_any_form_is_refused_by_name_or_becomes_a_call_that_the_model_takes(
    data: st.DataObject, operation: Operation, schema: PipelineSchema
) -> None:
    picture = Upload(b"a picture", "a.png")
    body: dict[str, Any] = {} if operation is Operation.GENERATION else {"image": picture}
    texts = st.text(max_size=8) | st.sampled_from(
        ["1", "20", "512x512", "true", "null", "[1]", "high", "9" * 99]
    )
    parts = texts | st.just(picture) | st.lists(texts | st.just(picture), min_size=1, max_size=3)
    spellings = st.sampled_from(["", "", "[]", "[a]", "[a][b]", "[", "[]x"])
    for name in data.draw(st.lists(st.sampled_from(sorted(KNOWN)), max_size=6)):
        body[name + data.draw(spellings)] = data.draw(parts)
    found = outcome(operation, schema, {"prompt": "a fox", **body}, form=True)
    assert_sound(found, schema, body)


@STEADY
@given(st.data(), operations, kinds)
def test_what_is_told_as_ignored_has_no_effect(
    data: st.DataObject, operation: Operation, schema: PipelineSchema
) -> None:
    body = data.draw(bodies(operation))
    policy = Policy(unknown_fields=UnknownFields.REPORT)
    found = outcome(operation, schema, body, policy=policy)
    if isinstance(found, Mapped) and found.ignored:
        told = {entry.field for entry in found.ignored} - {"prompt"}
        rest = {name: value for name, value in body.items() if name not in told}
        without = outcome(operation, schema, rest, policy=policy)
        assert isinstance(without, Mapped)
        assert without.call == found.call


def _alone(row: Row, rows: list[Row], body: Mapping[str, Any]) -> bool:
    """Whether nothing else in the request decides over the row."""
    if row.also or [other.field for other in rows].count(row.field) > 1:
        return False
    return body.get("stream") is not True and body.get("output_format") != "gif" and "mask" not in body


@STEADY
@given(st.data(), operations, kinds)
def test_a_field_that_a_model_cannot_honour_is_told_whatever_else_is_asked(
    data: st.DataObject, operation: Operation, schema: PipelineSchema
) -> None:
    plain = [row for row in TABLE if row.example not in ("picture", "pictures", "mask")]
    rows = data.draw(st.lists(st.sampled_from(plain), min_size=1, max_size=6))
    body = dict(PLAIN[operation])
    for row in rows:
        body |= {name: value for name, value in row.also.items() if value != "mask"}
        body[row.field] = row.example
    found = outcome(operation, schema, body)
    if isinstance(found, Mapped):
        method = schema.method(found.call.method)
        assert method is not None
        told = {entry.field for entry in found.ignored}
        for row in rows:
            if (
                _alone(row, rows, body)
                and row.decided(operation, schema, method).decision is Decision.IGNORED
            ):
                assert row.field in told
