#!/usr/bin/env python3
"""Serve a model from Python: ``deploy_kandinsky_v2.py --model-path PATH --model-name NAME [OPTION ...]``.

The same as ``deploy_kandinsky.sh PATH --model-name NAME``, which does the work; every other option is
handed on. The interpreter that runs this script is the one that is used.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent / "deploy_kandinsky.sh"


def main() -> None:
    """Become the deploy script."""
    parser = argparse.ArgumentParser(
        description="Serve a Kandinsky model behind an OpenAI-compatible images API.",
        epilog=f"Every other option is one of {SCRIPT.name}; see {SCRIPT.name} --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--model-path", help="model folder or file; without it the demo model")
    parser.add_argument("--model-name", help="name to serve it under")
    known, others = parser.parse_known_args()
    arguments = [known.model_path] if known.model_path else []
    if known.model_name:
        arguments += ["--model-name", known.model_name]
    environment = os.environ | {"PYTHON": os.environ.get("PYTHON") or sys.executable}
    sys.stdout.flush()
    os.execve(SCRIPT, [str(SCRIPT), *arguments, *others], environment)


if __name__ == "__main__":
    main()
