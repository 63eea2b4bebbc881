"""A loaded tiny model, and short ways to draw with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from pydantic import JsonValue

from engines.calls import EngineCall, EngineOptions
from engines.generation import Generated, generate
from engines.loading import LoadedModel
from engines.previews import Show
from engines.schema import PipelineSchema
from engines.stepping import OnStep


class Bench:
    """A loaded tiny model, and short ways to draw with it."""

    def __init__(self, model: LoadedModel, schema: PipelineSchema) -> None:
        self.model = model
        self.schema = schema

    def draw(
        self,
        parameters: dict[str, JsonValue],
        *,
        options: EngineOptions | None = None,
        stop: threading.Event | None = None,
        on_step: OnStep = lambda *_: None,
        on_preview: Show | None = None,
        **call: Any,
    ) -> Generated:
        return generate(
            self.model,
            self.schema,
            EngineCall(**{"request_id": "r", "method": "__call__", "parameters": parameters} | call),
            options=options or EngineOptions(),
            stop=stop or threading.Event(),
            on_step=on_step,
            on_preview=on_preview,
        )

    def stock(self, seed: int, **arguments: Any) -> Image.Image:
        """What the pipeline draws when it is called as its documentation says."""
        output = self.model.pipelines["__call__"](
            **arguments, generator=torch.Generator("cpu").manual_seed(seed)
        )
        picture = output[0][0]
        assert isinstance(picture, Image.Image)
        return picture


Benches = Callable[[str], Bench]
