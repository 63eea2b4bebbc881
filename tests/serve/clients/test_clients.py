"""What each client reads out of the answers: real pictures, real errors."""

from __future__ import annotations

import base64
import io
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image, ImageStat

from tests.environments import node_environment, python_environment
from tests.serve.clients.conftest import SCRIPTS, Run, beside
from tests.serve.conftest import RunningService, until

OPENAI_NODE = "openai@7.57.0"
AI_SDK = ("ai@7.0.173", "@ai-sdk/openai-compatible@3.0.92")
OPENAI_PYTHONS = ("openai==1.109.1", "openai==2.54.0")
LANGCHAIN = ("langchain-community==0.4.2", "openai==2.54.0")
LITELLM = "litellm[proxy]==1.106.2"
MASTER_KEY = "sk-the-proxys-own-key-0123456789"
PAGE = Path(__file__).parents[3] / "docs" / "clients.md"
PARTS = ["image_generation.partial_image"] * 2 + ["image_generation.completed"]


def opened(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image.convert("RGB")


def brightness(text: str) -> float:
    return float(ImageStat.Stat(opened(text).convert("L")).mean[0])


def assert_night(text: str) -> None:
    assert opened(text).size == (128, 128)
    assert brightness(text) < 100


def assert_right_half_alone_painted(text: str) -> None:
    image = opened(text)
    assert image.crop((0, 0, 60, 128)).getcolors() == [(60 * 128, (135, 206, 235))]
    assert len(image.crop((68, 0, 128, 128)).getcolors(100_000) or []) > 100


def assert_every_way_works(found: Any) -> None:
    """Of an openai package."""
    assert_night(found["plain"])
    assert found["streamed"] == found["plain"]
    assert found["events"] == PARTS
    assert re.search(r"/v1/images/files/[^/]+\.png$", found["url"])
    assert_right_half_alone_painted(found["edited"])
    assert "demo" in found["models"]
    assert (found["refusal"]["status"], found["refusal"]["param"]) == (400, "n")


def test_openai_for_node(run: Run, pictures: tuple[Path, Path]) -> None:
    packages = node_environment("openai-node", OPENAI_NODE)
    found = run("node", beside(packages, "openai_node.mjs"), *pictures)
    assert_every_way_works(found)
    assert found["fetched"] == [200, "image/png"]
    assert found["refusal"]["name"] == "BadRequestError"
    assert found["tokens"] > 0


def test_ai_sdk(run: Run, pictures: tuple[Path, Path]) -> None:
    packages = node_environment("ai-sdk", *AI_SDK)
    found = run("node", beside(packages, "ai_sdk.mjs"), pictures[0])
    assert len(found["images"]) == 2
    for image in found["images"]:
        assert_night(image)
    assert opened(found["edited"]).size == (128, 128)
    assert found["refusal"]["status"] == 400
    assert "Did you mean 'num_inference_steps'?" in found["refusal"]["message"]


@pytest.mark.parametrize("requirement", OPENAI_PYTHONS)
def test_earlier_openai_for_python(run: Run, pictures: tuple[Path, Path], requirement: str) -> None:
    programs = python_environment("openai", requirement)
    found = run(programs / "python", SCRIPTS / "openai_python.py", *pictures)
    assert found["version"] == requirement.partition("==")[2]
    assert_every_way_works(found)
    assert opened(found["varied"]).size == (128, 128)
    assert opened(found["azure"]).size == (128, 128)


def test_langchain(run: Run) -> None:
    programs = python_environment("langchain", *LANGCHAIN)
    url = run(programs / "python", SCRIPTS / "langchain_dalle.py")["url"]
    answer = httpx2.get(url).raise_for_status()
    assert_night(base64.b64encode(answer.content).decode())


def test_litellm(run: Run, pictures: tuple[Path, Path]) -> None:
    programs = python_environment("litellm", LITELLM)
    found = run(programs / "python", SCRIPTS / "litellm_sdk.py", pictures[0])
    assert_night(found["drawn"])
    assert opened(found["edited"]).size == (128, 128)
    assert found["refusal"] == {"kind": "BadRequestError", "status": 400}


@pytest.fixture
def litellm_proxy(service: RunningService, tmp_path: Path) -> Iterator[str]:
    programs = python_environment("litellm", LITELLM)
    text = (SCRIPTS / "litellm_proxy.yaml").read_text()
    config = tmp_path / "config.yaml"
    config.write_text(text.replace("http://127.0.0.1:8000", service.url))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [programs / "litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LITELLM_MASTER_KEY": MASTER_KEY}
        | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def alive() -> bool:
        assert process.poll() is None, "the proxy has ended"
        try:
            return httpx2.get(f"{url}/health/liveliness", timeout=2).status_code == 200
        except httpx2.TransportError:
            return False

    try:
        until(alive, bool)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def test_litellm_proxy(litellm_proxy: str) -> None:
    client = openai.OpenAI(base_url=f"{litellm_proxy}/v1", api_key=MASTER_KEY, max_retries=0, timeout=90)
    drawn = client.images.generate(model="kandinsky", prompt="a snowy mountain at night", size="128x128")
    assert_night((drawn.data or [])[0].b64_json or "")


def test_page_shows_what_is_run_here() -> None:
    blocks = re.findall(r"```\w+ title=(\S+)\n(.*?)```", PAGE.read_text(), flags=re.S)
    assert {name for name, _ in blocks} == {path.name for path in SCRIPTS.iterdir()}
    for name, block in blocks:
        shown = block.replace('baseURL: "http://127.0.0.1:8000/v1"', "baseURL")
        shown = shown.replace('"http://127.0.0.1:8000/v1"', "base_url")
        assert words(shown) in words((SCRIPTS / name).read_text())


def words(code: str) -> str:
    """Code as one line, however it was broken into lines."""
    return re.sub(r",? \)", " )", " ".join(code.split()))
