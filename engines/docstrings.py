"""Parameter descriptions out of the ``Args:`` section of a docstring."""

from __future__ import annotations

import inspect
import re
from typing import Final

_SECTION: Final = re.compile(r"^(Args|Arguments|Parameters):\s*$")
_END: Final = re.compile(r"^(Examples?|Returns?|Raises|Yields|Note|Notes):?\s*$")
_HEADER: Final = re.compile(r"^\*{0,2}`?(\w+)`?\s*(\([^)]*(?:\([^)]*\)[^)]*)*\))?\s*:\s*(.*)$")


def parameter_descriptions(docstring: str | None) -> dict[str, str]:
    """Map parameter names to their descriptions, each in one line.

    Types and defaults that the text states are left out: docstrings contradict signatures.
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    start = next((i + 1 for i, line in enumerate(lines) if _SECTION.match(line)), len(lines))
    found: dict[str, list[str]] = {}
    current: list[str] = []
    indent: int | None = None
    for line in lines[start:]:
        if _END.match(line):
            break
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        header = _HEADER.match(line.strip())
        if header and (indent is None or depth <= indent):
            indent = depth
            current = found.setdefault(header[1], [])
            current.append(header[3].strip())
        else:
            current.append(line.strip())
    return {name: " ".join(part for part in parts if part) for name, parts in found.items()}


def first_sentence(docstring: str | None) -> str:
    """The docstring's first sentence, in one line."""
    paragraph = inspect.cleandoc(docstring or "").partition("\n\n")[0]
    text = " ".join(paragraph.split())
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
