"""Annotations as JSON types."""

from collections.abc import Callable
from typing import Any, Literal, Optional

import pytest
import torch
from PIL import Image

from engines.annotations import annotation_text, read_annotation
from engines.schema import ValueKind


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, ValueKind.STRING),
        (bool, ValueKind.BOOLEAN),
        (int, ValueKind.INTEGER),
        (float, ValueKind.NUMBER),
        (list[int], ValueKind.ARRAY),
        (dict[str, Any], ValueKind.OBJECT),
        (Image.Image, ValueKind.IMAGE),
        (int | float, ValueKind.UNION),
    ],
)
def test_plain_types(annotation: Any, kind: ValueKind) -> None:
    assert read_annotation(annotation).type.kind is kind


@pytest.mark.parametrize(
    ("annotation", "length"), [(tuple[int, int], 2), (tuple[int, ...], None), (list[int], None)]
)
def test_a_tuple_has_its_length(annotation: Any, length: int | None) -> None:
    assert read_annotation(annotation).type.length == length


@pytest.mark.parametrize("annotation", [int | None, Optional[int]])  # noqa: UP045 - both styles occur
def test_none_makes_nullable(annotation: Any) -> None:
    reading = read_annotation(annotation)
    assert reading.nullable
    assert reading.type.kind is ValueKind.INTEGER


def test_value_or_list_of_it_is_repeated() -> None:
    assert read_annotation(str | list[str]).repeated


def test_literal_gives_choices() -> None:
    assert read_annotation(Literal["a", "b"]).type.choices == ("a", "b")


def test_tensors_beside_images_do_not_count() -> None:
    reading = read_annotation(Image.Image | torch.Tensor | None)
    assert reading.type.kind is ValueKind.IMAGE
    assert reading.hidden is None


@pytest.mark.parametrize("annotation", [torch.Tensor, Callable[[int], None], list[torch.Tensor]])
def test_what_json_cannot_carry_is_hidden(annotation: Any) -> None:
    assert read_annotation(annotation).hidden is not None


def test_text_is_readable() -> None:
    assert annotation_text(str | list[str]) == "str | list[str]"
    assert annotation_text(int) == "int"
