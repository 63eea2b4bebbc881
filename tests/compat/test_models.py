"""Model objects are those of OpenAI's SDK, with what a self-hosted model adds."""

from __future__ import annotations

from typing import Any

from openai.types import Model

from compat.models import model_list, model_object
from engines.schema import PipelineSchema, SizeFit
from tests.compat.models import FREE, TINY, listed, schema


def described(model: PipelineSchema) -> dict[str, Any]:
    return model_object(
        "dall-e-3",
        schema=model,
        created=5,
        state="waking",
        progress=0.5,
        reason=None,
        schema_url="/kandinsky-3/v1/schema",
        root="kandinsky-3",
    )


def test_the_sdk_reads_a_model_and_keeps_what_it_does_not_know() -> None:
    model = Model.model_validate(described(TINY))
    assert (model.id, model.object, model.created) == ("dall-e-3", "model", 5)
    assert model.owned_by
    assert model.model_extra is not None
    assert (model.model_extra["state"], model.model_extra["progress"]) == ("waking", 0.5)
    assert model.model_extra["root"] == "kandinsky-3"
    assert model.model_extra["capabilities"] == ["text-to-image"]


def test_sizes_tell_what_can_be_asked_for() -> None:
    assert described(TINY)["sizes"] == {"default": "128x128", "supported": ["128x128"], "multiple": 64}
    assert described(FREE)["sizes"] == {"default": "1024x1024", "supported": [], "multiple": 16}
    assert len(described(listed(SizeFit.ERROR))["sizes"]["supported"]) == 7


def test_a_model_without_a_known_size_says_so() -> None:
    assert described(schema())["sizes"] is None


def test_the_list_is_one_page() -> None:
    assert model_list([described(TINY)]) == {"object": "list", "data": [described(TINY)]}
