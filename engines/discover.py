"""``python -m engines.discover``: a `ModelCard` as JSON on stdin, its `PipelineSchema` on stdout.

A process of its own, so that a command line need not import torch.
"""

from __future__ import annotations

import sys

from engines.calls import EngineOptions
from engines.card import ModelCard
from engines.discovery import discover
from engines.errors import EngineError


def main() -> int:
    """Describe the model; returns the exit code."""
    card = ModelCard.model_validate_json(sys.stdin.read())
    try:
        schema = discover(card, max_images=EngineOptions().max_images)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    print(schema.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
