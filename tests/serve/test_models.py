"""Models on real Ray Serve: asleep, woken, and drawing exactly what their stock pipelines draw.

The other families draw in ``tests/engines``; what Serve adds is the same for each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from PIL import Image, ImageChops

from tests.gateway.wire import brightness, picture
from tests.serve.conftest import RunningService, until

Name = Callable[[str], str]

SMALL: dict[str, Any] = {"prompt": "a cat", "num_inference_steps": 2, "width": 128, "height": 128}
TWO_STAGES = SMALL | {"prior_num_inference_steps": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "kandinsky22": TWO_STAGES,
    "kandinsky3": SMALL,
    "sd15": SMALL,
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_cold_then_202_then_the_stock_pipelines_picture(
    service: RunningService, deployed: Name, tiny_models: Callable[[str], Path], kind: str
) -> None:
    name, parameters = deployed(kind), FAMILIES[kind]
    schema = service.client.get(f"/kandinsky-{name}/v1/schema").json()
    assert schema["inputs"]["required"] == ["prompt"]

    path, body = f"/kandinsky-{name}/v1/generate", parameters | {"seed": 11}
    cold = service.client.post(path, json=body)
    assert cold.status_code == 202
    assert cold.json()["status"] == "loading"
    warm = until(lambda: service.client.post(path, json=body), lambda answer: answer.status_code != 202)
    assert warm.status_code == 200, warm.text
    again = service.client.post(path, json=body)
    assert again.json()["image"] == warm.json()["image"]
    assert same_pixels(picture(warm.json()["image"]), stock_picture(tiny_models(kind), parameters, seed=11))


def test_openai_call_is_held_until_the_model_is_warm(
    service: RunningService, tiny_models: Callable[[str], Path]
) -> None:
    service.deploy(tiny_models("sd15"), "held")
    sdk = OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)
    assert service.health("held")["state"] == "asleep"
    answer = sdk.images.generate(
        model="held", prompt="a cat", size="128x128", n=2, extra_body={"num_inference_steps": 2, "seed": 5}
    )
    assert [picture(image.b64_json or "").size for image in answer.data or []] == [(128, 128)] * 2
    assert service.health("held")["state"] == "ready"
    service.command("undeploy", "held")
    assert "held" not in [model.id for model in sdk.models.list()]


def test_prompt_is_followed_through_the_sdk(service: RunningService) -> None:
    sdk = OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)
    skies = [
        sdk.images.generate(model="gpt-image-1", prompt=prompt, size="256x256", extra_body={"seed": 3})
        for prompt in ("mountains at night", "mountains by day")
    ]
    night, day = (brightness(picture((sky.data or [])[0].b64_json or "")) for sky in skies)
    assert night < 80 < 110 < day


def stock_picture(folder: Path, parameters: dict[str, Any], *, seed: int) -> Image.Image:
    """What diffusers alone draws."""
    import torch
    from diffusers import DiffusionPipeline

    torch.set_num_threads(1)
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)  # type: ignore[no-untyped-call]
    pipeline.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        output = pipeline(**parameters, generator=torch.Generator().manual_seed(seed))
    drawn: Image.Image = next(iter(output.values()))[0]
    return drawn


def same_pixels(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and ImageChops.difference(one.convert("RGB"), other).getbbox() is None
