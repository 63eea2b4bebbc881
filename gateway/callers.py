"""Who a request is from: its API key or its address, as queues and limits tell callers apart."""

from __future__ import annotations

import contextvars
from typing import Final

NOBODY: Final = "-"
"""The caller of what the gateway does for itself."""

caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default=NOBODY)
"""The caller of the request being worked on: a digest of its key, else its address; never the key itself."""
