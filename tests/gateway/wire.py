"""Assertions about answers that many tests make."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx2
from PIL import Image


def assert_error(
    answer: httpx2.Response, status: int, *, type: str, code: str | None, param: str | None
) -> str:
    """Assert that an answer is OpenAI's error object with these values; returns the message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert int(answer.headers["openai-processing-ms"]) >= 0
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["type"], body["error"]["code"], body["error"]["param"]) == (type, code, param)
    message: str = body["error"]["message"]
    assert message
    assert "Traceback" not in message
    return message


def picture(encoded: str) -> Image.Image:
    """Decode base64, or a ``data:`` URI, into a picture."""
    raw = base64.b64decode(encoded.partition(",")[2] if encoded.startswith("data:") else encoded)
    image = Image.open(io.BytesIO(raw))
    image.load()
    return image


def brightness(image: Image.Image) -> float:
    """Mean of the upper half's grey values, 0 to 255: the sky of a landscape."""
    sky = image.convert("L").crop((0, 0, image.width, image.height // 2))
    histogram = sky.histogram()
    return sum(value * count for value, count in enumerate(histogram)) / (sky.width * sky.height)


def first_picture(answer: Any) -> Image.Image:
    """The first picture of an OpenAI answer."""
    return picture(answer["data"][0]["b64_json"])
