"""What to try after a deployment, ready to be pasted into a shell."""

from __future__ import annotations

import shlex
import sys
from typing import Final

from gateway.cluster import Cluster
from gateway.ports import WILDCARDS
from gateway.registry import ModelEntry

PROMPT: Final = "snowy mountains at night under a full moon"
DECODE: Final = (
    "import sys, json, base64; "
    'open("picture.png", "wb").write(base64.b64decode(json.load(sys.stdin)["data"][0]["b64_json"]))'
)


def examples(cluster: Cluster, entry: ModelEntry) -> str:
    """The text that is printed after a deployment."""
    name, url, python = entry.name, cluster.url, shlex.quote(sys.executable)
    return f"""\
{name} is served at {url}
It sleeps until its first request, which loads it.{_warning(cluster)}

A picture with curl:

curl -sS {url}/v1/images/generations \\
  -H 'Content-Type: application/json' \\
  -d '{{"model": "{name}", "prompt": "{PROMPT}", "seed": 7}}' \\
  | {python} -c '{DECODE}'

A picture with the openai SDK:

{python} - <<'END'
import base64
from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="none")
answer = client.images.generate(model="{name}", prompt="{PROMPT}")
open("picture.png", "wb").write(base64.b64decode(answer.data[0].b64_json))
END

Its own parameters:  {url}/schema?model={name}
"""


def _warning(cluster: Cluster) -> str:
    loopback = cluster.host.startswith("127.") or cluster.host in ("localhost", "::1")
    if loopback:
        return ""
    where = "every interface" if cluster.host in WILDCARDS else cluster.host
    return f"\nIt listens on {where} and asks for no key: whoever reaches it can use it."
