"""Parameter descriptions out of the ``Args:`` section of a docstring."""

from __future__ import annotations

import inspect
import re
from typing import Final

_SECTION: Final = re.compile(r"^\s*(Args|Arguments|Parameters):\s*$")
_END: Final = re.compile(r"^\s*(Examples?|Returns?|Raises|Yields|Notes?):?\s*$")
_HEADER: Final = re.compile(r"^\*{0,2}`?(\w+)`?\s*(\([^)]*(?:\([^)]*\)[^)]*)*\))?\s*:\s*(.*)$")


def parameter_descriptions(docstring: str | None) -> dict[str, str]:
    """Map parameter names to their descriptions, each in one line.

    Types and defaults that the text states are left out: docstrings contradict signatures.
    """
    lines = (docstring or "").expandtabs().splitlines()
    start = next((i for i, line in enumerate(lines) if _SECTION.match(line)), None)
    if start is None:
        return {}
    # Measured line by line: examples pasted into a docstring spoil its common indentation.
    section = _depth(lines[start])
    found: dict[str, list[str]] = {}
    current: list[str] = []
    indent: int | None = None
    for line in lines[start + 1 :]:
        if not line.strip():
            continue
        if _depth(line) <= section and _END.match(line):
            break
        header = _HEADER.match(line.strip())
        if header and (indent is None or _depth(line) <= indent):
            indent = _depth(line)
            current = found.setdefault(header[1], [])
            current.append(header[3].strip())
        else:
            current.append(line.strip())
    return {name: " ".join(part for part in parts if part) for name, parts in found.items()}


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def first_sentence(docstring: str | None) -> str:
    """The docstring's first sentence, in one line."""
    paragraph = inspect.cleandoc(docstring or "").partition("\n\n")[0]
    text = " ".join(paragraph.split())
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
