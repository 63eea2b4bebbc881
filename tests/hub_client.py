"""``python -m tests.hub_client``: fetch models of the hub and print what came of each as JSON.

In a process of its own, for huggingface_hub reads its environment once. Every line of standard input is a
JSON object: ``reference``, and as it pleases ``pickles``, ``with_prior``, ``free`` (bytes that the disk has)
and ``impatient`` (two attempts more, at once). Every line of output is one, too: ``fetched`` or ``refused``
(model and reason), and ``progress`` as triples.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from engines.errors import NotLoadable
from engines.hub import DownloadProgress, HubReference, fetch, transfer


def outcome(wish: dict[str, Any]) -> dict[str, Any]:
    """What comes of one fetch."""
    reference = HubReference.parse(wish.pop("reference"))
    assert reference is not None
    free = wish.pop("free", None)
    if free is not None:
        wish["free_bytes"] = lambda _: free
    pauses = (0.0, 0.0) if wish.pop("impatient", False) else transfer._PAUSES
    progress: list[tuple[str, int, int]] = []

    def report(now: DownloadProgress) -> None:
        progress.append((now.file, now.bytes_done, now.bytes_total))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "_PAUSES", pauses)
        try:
            return {"fetched": fetch(reference, report, **wish).model_dump(), "progress": progress}
        except NotLoadable as error:
            return {"refused": [error.model, error.reason], "progress": progress}


def main() -> None:
    """Serve standard input until its end."""
    for line in sys.stdin:
        print(json.dumps(outcome(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
