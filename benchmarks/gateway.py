"""What the gateway costs on top of the pipeline, against a running service with the demo model.

    ./deploy_kandinsky.sh && .venv/bin/python benchmarks/gateway.py [BASE_URL]

Prints medians over the same prompt and seeds: the stock pipeline called directly in this process,
the native route, the OpenAI route, and the ratios. If the model sleeps, the first native call's 202 and the
time to the first picture are measured too.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import httpx2

BASE_URL = "http://127.0.0.1:8000"
PROMPT = "snowy mountains at night under a full moon"
ROUNDS = 7


def main() -> None:
    client = httpx2.Client(base_url=sys.argv[1] if len(sys.argv) > 1 else BASE_URL, timeout=300)
    cold(client)
    native = median(
        lambda seed: post(client, "/kandinsky-demo/v1/generate", {"prompt": PROMPT, "seed": seed})
    )
    openai = median(
        lambda seed: post(client, "/v1/images/generations", {"model": "demo", "prompt": PROMPT, "seed": seed})
    )
    health = median(lambda _: client.get("/health").raise_for_status())
    direct = median(stock_pipeline())
    print(f"stock pipeline   {direct:8.3f} s")
    print(f"native generate  {native:8.3f} s  {native / direct:5.2f} x")
    print(f"openai generate  {openai:8.3f} s  {openai / direct:5.2f} x")
    print(f"health           {1000 * health:8.1f} ms")


def cold(client: httpx2.Client) -> None:
    """Measure the 202 and the way to the first picture, if the model is asleep."""
    started = time.perf_counter()
    answer = client.post("/kandinsky-demo/v1/generate", json={"prompt": PROMPT, "seed": 0})
    took = time.perf_counter() - started
    if answer.status_code != 202:
        print("the model was awake: nothing to say about waking")
        return
    while answer.status_code == 202:
        time.sleep(0.05)
        answer = client.post("/kandinsky-demo/v1/generate", json={"prompt": PROMPT, "seed": 0})
    answer.raise_for_status()
    print(f"202 after        {1000 * took:8.1f} ms")
    print(f"first picture    {time.perf_counter() - started:8.2f} s after the first call")


def post(client: httpx2.Client, path: str, body: dict[str, object]) -> None:
    client.post(path, json=body).raise_for_status()


def median(call: Callable[[int], object]) -> float:
    times = []
    for seed in range(ROUNDS + 1):
        started = time.perf_counter()
        call(seed)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def stock_pipeline() -> Callable[[int], object]:
    import torch
    from diffusers import DiffusionPipeline

    from engines.detection import demo_card

    card = demo_card()
    torch.set_num_threads(1)
    pipeline = DiffusionPipeline.from_pretrained(card.path, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def draw(seed: int) -> object:
        generator = torch.Generator().manual_seed(seed)
        with torch.inference_mode():
            return pipeline(PROMPT, generator=generator, **card.preset.defaults)

    return draw


if __name__ == "__main__":
    main()
