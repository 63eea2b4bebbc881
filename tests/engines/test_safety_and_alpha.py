"""What a model's own parts do to its pictures: a safety checker that objects, an alpha channel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import JsonValue

from engines.calls import EngineCall, EngineOptions
from engines.detection import detect
from engines.discovery import complete, discover
from engines.errors import LoadFailed, ModerationBlocked
from engines.generation import Generated, generate
from engines.loading import load
from tests.engines.bench import Benches

Models = Callable[[str], Path]
SMALL: dict[str, JsonValue] = {"prompt": "a red fox", "height": 64, "width": 64, "num_inference_steps": 1}
CPU = EngineOptions(device="cpu", dtype="float32", threads=1)
MODERATED = CPU.model_copy(update={"moderation": True})


def drawn(folder: Path, options: EngineOptions) -> tuple[bool, Generated]:
    card = detect(folder)
    model = load(card, options, lambda _: None)
    schema = complete(discover(card), model.pipelines)
    call = EngineCall(request_id="r", method="__call__", parameters=dict(SMALL))
    result = generate(model, schema, call, options=options, stop=threading.Event(), on_step=lambda *_: None)
    return schema.moderated, result


def test_safety_checker_is_not_loaded_unless_asked_for(tiny_models: Models) -> None:
    moderated, result = drawn(tiny_models("sd15-guarded"), CPU)
    assert not moderated
    assert result.images[0][0].getbbox() is not None  # one that is blocked would be black


def test_picture_that_the_safety_checker_objects_to_is_not_handed_out(tiny_models: Models) -> None:
    with pytest.raises(ModerationBlocked, match="safety"):
        drawn(tiny_models("sd15-guarded"), MODERATED)


def test_moderation_without_a_safety_checker_is_a_failure_to_load(tiny_models: Models) -> None:
    with pytest.raises(LoadFailed, match="no safety checker"):
        load(detect(tiny_models("sd15")), MODERATED, lambda _: None)


def test_alpha_channel_is_found_out_and_kept_unless_opaque_is_asked_for(benches: Benches) -> None:
    bench = benches("sd15-transparent")
    assert bench.schema.transparent
    assert not benches("sd15").schema.transparent
    clear = bench.draw(dict(SMALL), seed=1).images[0][0]
    solid = bench.draw(dict(SMALL), seed=1, opaque=True).images[0][0]
    assert (clear.mode, solid.mode) == ("RGBA", "RGB")
