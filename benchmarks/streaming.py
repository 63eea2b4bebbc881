"""What pictures of the way cost: a stream with three partial images against the plain call.

Needs a running gateway: ``python benchmarks/streaming.py --url http://127.0.0.1:8000 --model demo``.
The two kinds of call alternate, so that whatever else the machine does falls on both alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from openai import OpenAI


def plain(client: OpenAI, fields: dict[str, Any]) -> float:
    """Seconds of a plain call."""
    started = time.perf_counter()
    client.images.generate(response_format="b64_json", **fields)
    return time.perf_counter() - started


def streamed(client: OpenAI, fields: dict[str, Any]) -> tuple[float, float]:
    """Seconds until the first partial image, and until the end, of a stream with three."""
    started = time.perf_counter()
    first = 0.0
    events = 0
    for event in client.images.generate(stream=True, partial_images=3, **fields):
        if event.type == "image_generation.partial_image" and not events:
            first = time.perf_counter() - started
        events += 1
    assert events == 4, f"{events} events came instead of 4"
    return first, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    client = OpenAI(base_url=f"{given.url}/v1", api_key="none", timeout=600)
    fields: dict[str, Any] = {
        "model": given.model,
        "prompt": "a red house beside a lake",
        "extra_body": {"seed": 1},
    }
    plain(client, fields)
    rounds = [(plain(client, fields), *streamed(client, fields)) for _ in range(given.rounds)]
    alone, first, whole = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(
        json.dumps(
            {
                "plain_seconds": round(alone, 3),
                "stream_seconds": round(whole, 3),
                "first_partial_seconds": round(first, 3),
                "ratio": round(whole / alone, 3),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
