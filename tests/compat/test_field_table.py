"""The table of fields is complete, and the mapping does what it says for every kind of model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from openai.types import ImageCreateVariationParams, ImageEditParams, ImageGenerateParams

from compat.decisions import Case, Decision, Row, strict_decision
from compat.field_table import TABLE
from compat.fields_page import page
from compat.mapped import Mapped, Operation
from compat.methods import edit_method, generation_method, variation_method
from compat.policy import Policy
from compat.vocabulary import EXTENSIONS, OPENAI_FIELDS, READERS
from engines.errors import InvalidRequest
from engines.schema import MethodSchema, PipelineSchema
from engines.validation import check
from tests.compat.kinds import KINDS
from tests.compat.requested import PLAIN, REFERENCE, ROUTES

PAGE = Path(__file__).parents[2] / "docs" / "fields.md"

SDK: Mapping[Operation, tuple[Any, ...]] = {
    Operation.GENERATION: get_args(ImageGenerateParams),
    Operation.EDIT: get_args(ImageEditParams),
    Operation.VARIATION: (ImageCreateVariationParams,),
}


@pytest.mark.parametrize("operation", Operation)
def test_every_field_of_the_sdk_is_known_and_decided(operation: Operation) -> None:
    names = {name for variant in SDK[operation] for name in get_type_hints(variant)}
    assert names <= OPENAI_FIELDS[operation]
    assert OPENAI_FIELDS[operation] - names <= {"images", "moderation"}
    assert names | EXTENSIONS[operation] <= {row.field for row in TABLE}


@pytest.mark.parametrize("operation", Operation)
def test_every_field_that_carries_no_picture_is_read(operation: Operation) -> None:
    fields = OPENAI_FIELDS[operation] | EXTENSIONS[operation]
    assert fields - {"image", "images", "mask", "markup"} <= set(READERS)


def test_every_row_ends_with_what_becomes_of_all_other_models() -> None:
    for row in TABLE:
        for operation in Operation:
            assert row.cases(operation)[-1].where is None, (row.field, operation)


def _serving(operation: Operation, schema: PipelineSchema, *, masked: bool) -> MethodSchema | None:
    try:
        if operation is Operation.GENERATION:
            return generation_method(schema)
        if operation is Operation.VARIATION:
            return variation_method(schema)
        return edit_method(schema, masked=masked and "inpaint" in {m.name for m in schema.methods})
    except InvalidRequest:
        return None


def _every_case() -> Iterator[Any]:
    for row in TABLE:
        for operation in Operation:
            for kind, schema in KINDS.items():
                method = _serving(operation, schema, masked="mask" in (row.field, *row.also))
                if method is not None:
                    case = row.decided(operation, schema, method)
                    name = f"{row.field}-{row.values}-{operation.name}-{kind}"
                    yield pytest.param(row, operation, schema, case, id=name)


CASES = tuple(_every_case())


def _body(row: Row, operation: Operation) -> dict[str, Any]:
    """The least request with the row's example in it; words stand for pictures."""
    wishes = {**row.also, row.field: row.example}
    if operation is Operation.EDIT and row.field == "image":
        return dict(PLAIN[operation])
    own = operation is Operation.GENERATION
    for name, value in wishes.items():
        if value in ("picture", "mask"):
            wishes[name] = "AAAA" if own else REFERENCE
        elif value == "pictures":
            wishes[name] = [REFERENCE, REFERENCE]
    return {**PLAIN[operation], **wishes}


def _effect(mapped: Mapped) -> tuple[object, ...]:
    return (mapped.call, mapped.delivery, mapped.stream)


def _drawing(mapped: Mapped) -> tuple[object, ...]:
    return (mapped.call.parameters, mapped.call.resize_to, mapped.call.fit_inputs)


def _assert_taken(row: Row, operation: Operation, schema: PipelineSchema, case: Case, found: Mapped) -> None:
    assert row.field not in {entry.field for entry in found.ignored}
    if row.neutral or row.field in ("image", "images", "mask", "mask_feather"):
        return
    route = ROUTES[operation]
    before = route(schema, {**PLAIN[operation], **row.also})
    assert _effect(found) != _effect(before)
    if case.decision is Decision.MAPPED:
        assert _drawing(found) != _drawing(before)


@pytest.mark.parametrize(("row", "operation", "schema", "case"), CASES)
def test_a_field_becomes_what_the_table_says(
    row: Row, operation: Operation, schema: PipelineSchema, case: Case
) -> None:
    route, body = ROUTES[operation], _body(row, operation)
    if case.decision is Decision.REFUSED:
        with pytest.raises(InvalidRequest):
            route(schema, body)
        return
    found = route(schema, body)
    serving = schema.method(found.call.method)
    assert serving is not None
    assert check(serving, found.call.parameters) == found.call.parameters
    if case.decision is Decision.IGNORED:
        assert row.field in {entry.field for entry in found.ignored}
    else:
        _assert_taken(row, operation, schema, case, found)


@pytest.mark.parametrize(("row", "operation", "schema", "case"), CASES)
def test_strict_use_does_what_its_rule_says(
    row: Row, operation: Operation, schema: PipelineSchema, case: Case
) -> None:
    body = {"model": "fox", **_body(row, operation)}
    # A model that takes no text ignores the prompt of every edit.
    textless = operation is Operation.EDIT and schema.call.find("prompt") is None
    if textless or strict_decision(row, operation, case) is Decision.REFUSED:
        with pytest.raises(InvalidRequest):
            ROUTES[operation](schema, body, policy=Policy(strict=True))
    else:
        assert ROUTES[operation](schema, body, policy=Policy(strict=True))


@pytest.mark.parametrize("kind", ["text only, resampled", "only with a mask"])
@pytest.mark.parametrize("operation", [Operation.EDIT, Operation.VARIATION])
def test_a_route_that_a_model_cannot_serve_is_refused(kind: str, operation: Operation) -> None:
    with pytest.raises(InvalidRequest) as raised:
        ROUTES[operation](KINDS[kind], PLAIN[operation])
    assert raised.value.parameter in ("model", "mask")


def test_the_committed_page_is_the_tables() -> None:
    assert PAGE.read_text() == page()


def test_the_readme_links_to_the_page() -> None:
    assert "(docs/fields.md)" in (PAGE.parent.parent / "README.md").read_text()
