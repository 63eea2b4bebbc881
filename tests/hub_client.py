"""``python -m tests.hub_client``: fetch a model of the hub and print what came of it as JSON.

In a process of its own, for huggingface_hub reads its environment once. The argument is a JSON object:
``reference``, and as it pleases ``pickles``, ``with_prior``, ``free`` (bytes that the disk has) and
``impatient`` (two attempts more, at once).
"""

from __future__ import annotations

import json
import sys
from typing import Any

from engines.errors import NotLoadable
from engines.hub import DownloadProgress, HubReference, fetch, transfer


def main() -> None:
    """Print ``fetched`` or ``refused`` (model and reason), and ``progress`` as triples."""
    wish: dict[str, Any] = json.loads(sys.argv[1])
    reference = HubReference.parse(wish.pop("reference"))
    assert reference is not None
    free = wish.pop("free", None)
    if free is not None:
        wish["free_bytes"] = lambda _: free
    if wish.pop("impatient", False):
        setattr(transfer, "_PAUSES", (0.0, 0.0))  # noqa: B010 - it is final to everybody else
    progress: list[tuple[str, int, int]] = []

    def report(now: DownloadProgress) -> None:
        progress.append((now.file, now.bytes_done, now.bytes_total))

    try:
        outcome: dict[str, Any] = {"fetched": fetch(reference, report, **wish).model_dump()}
    except NotLoadable as error:
        outcome = {"refused": [error.model, error.reason]}
    print(json.dumps(outcome | {"progress": progress}))


if __name__ == "__main__":
    main()
