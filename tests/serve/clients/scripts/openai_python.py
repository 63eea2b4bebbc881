"""Older openai packages: every way of asking for pictures. Usage: openai_python.py BASE_URL PICTURE MASK"""

import json
import sys
from pathlib import Path

import openai

base_url, picture, mask = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
quick = {"num_inference_steps": 8, "seed": 5}

plain = client.images.generate(
    model="demo", prompt="a snowy mountain at night", response_format="b64_json", extra_body=quick
)
linked = client.images.generate(model="dall-e-3", prompt="a lake", response_format="url", extra_body=quick)
stream = client.images.generate(
    model="demo", prompt="a snowy mountain at night", stream=True, partial_images=2, extra_body=quick
)
events = list(stream)
edited = client.images.edit(
    model="demo", image=Path(picture), mask=Path(mask), prompt="a boat", response_format="b64_json"
)
varied = client.images.create_variation(image=Path(picture), response_format="b64_json")
azure = openai.AzureOpenAI(
    azure_endpoint=base_url.removesuffix("/v1"), api_key="none", api_version="2025-04-01-preview"
).images.generate(model="demo", prompt="a lake", response_format="b64_json", extra_body=quick)
try:
    client.images.generate(model="demo", prompt="a fox", n=99)
except openai.BadRequestError as error:
    refusal = {"param": error.param, "status": error.status_code}

print(
    json.dumps(
        {
            "version": openai.__version__,
            "plain": plain.data[0].b64_json,
            "url": linked.data[0].url,
            "events": [event.type for event in events],
            "streamed": events[-1].b64_json,
            "edited": edited.data[0].b64_json,
            "varied": varied.data[0].b64_json,
            "azure": azure.data[0].b64_json,
            "models": [model.id for model in client.models.list()],
            "refusal": refusal,
        }
    )
)
