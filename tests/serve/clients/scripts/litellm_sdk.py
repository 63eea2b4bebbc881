"""LiteLLM's SDK. Usage: litellm_sdk.py BASE_URL PICTURE"""

import json
import sys
from pathlib import Path

import litellm

base_url, picture = sys.argv[1:]
drawn = litellm.image_generation(
    model="openai/demo", prompt="a snowy mountain at night", size="128x128", api_base=base_url, api_key="none"
)
edited = litellm.image_edit(
    model="openai/demo",
    image=Path(picture).read_bytes(),
    prompt="the same at night",
    api_base=base_url,
    api_key="none",
)
try:
    litellm.image_generation(model="openai/demo", prompt="a fox", n=99, api_base=base_url, api_key="none")
except litellm.BadRequestError as error:
    refusal = {"kind": type(error).__name__, "status": error.status_code}

print(json.dumps({"drawn": drawn.data[0].b64_json, "edited": edited.data[0].b64_json, "refusal": refusal}))
