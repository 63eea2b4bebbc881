"""``docs/settings.md``, written from `gateway.settings`: ``python -m gateway.settings_page``."""

from __future__ import annotations

import json
import sys
from enum import Enum
from typing import Final

from gateway.settings import ENVIRONMENT_PREFIX, Settings

_HEAD: Final = """# Settings

Variables of the environment, read whenever `deploy_kandinsky.sh` deploys a model; a value that cannot be
stops it. Lists have commas between their entries.

| variable | default | meaning |
| --- | --- | --- |
"""


def page() -> str:
    """The page as Markdown."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default.value if isinstance(field.default, Enum) else field.default
        shown = "" if default in (None, (), {}) else f"`{json.dumps(default).strip(chr(34))}`"
        rows.append(f"| `{ENVIRONMENT_PREFIX}{name.upper()}` | {shown} | {field.description} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(page())
