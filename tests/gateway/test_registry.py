"""Names, aliases and the default model."""

import pytest

from compat.errors import ModelNotFound
from engines.errors import UnknownModel
from gateway.registry import ModelEntry, Registry, native_path
from tests.gateway.entries import entry


@pytest.fixture
def two() -> Registry:
    return Registry([entry("kandinsky-3", aliases=("dall-e-3",)), entry("demo", aliases=("*",))])


def test_name_finds_its_model(two: Registry) -> None:
    assert two.resolve("kandinsky-3").name == "kandinsky-3"


def test_alias_finds_its_model(two: Registry) -> None:
    assert two.resolve("dall-e-3").name == "kandinsky-3"


def test_catch_all_answers_to_every_other_name(two: Registry) -> None:
    assert two.resolve("gpt-image-1").name == "demo"


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match=r"'foo' does not exist.*'a', 'b'"):
        Registry([entry("a"), entry("b")]).resolve("foo")


def test_only_model_is_the_default() -> None:
    assert Registry([entry("a")]).resolve(None).name == "a"


def test_name_is_needed_among_several_without_a_default() -> None:
    with pytest.raises(UnknownModel):
        Registry([entry("a"), entry("b")]).resolve(None)


def test_native_prefix_is_not_doubled(two: Registry) -> None:
    assert native_path("kandinsky-3") == "/kandinsky-3/v1"
    assert native_path("demo") == "/kandinsky-demo/v1"
    assert two.native("3").name == "kandinsky-3"
    assert two.native("demo").name == "demo"


def test_native_route_does_not_follow_the_catch_all(two: Registry) -> None:
    with pytest.raises(UnknownModel):
        two.native("nothing")


def test_catch_all_lists_no_model_of_that_name(two: Registry) -> None:
    assert two.listed("dall-e-3").name == "kandinsky-3"
    with pytest.raises(ModelNotFound):
        two.listed("gpt-image-1")


def test_entry_survives_serves_config() -> None:
    original = entry("a", aliases=("b",))
    assert ModelEntry.model_validate(original.model_dump(mode="json")) == original
