"""Models that another OpenAI-compatible server answers for: where it is, and where its key lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from engines.schema import Frozen

USUAL_TIMEOUT_SECONDS: Final = 600.0
"""The SDKs' own."""


class RemoteKey(Frozen):
    """Where the gateway finds a key: a variable of its environment, or a file.

    The key itself is in no configuration, which anybody who may look at Ray's dashboard can read.
    """

    variable: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.variable is None) == (self.file is None):
            raise ValueError("a key lies in a variable or in a file")
        return self

    @property
    def place(self) -> str:
        """Where it is, in words for the operator."""
        return f"the variable {self.variable}" if self.variable else f"the file {self.file}"

    def read(self) -> str | None:
        """The key as it is now, or ``None`` where there is none."""
        if self.variable is not None:
            return os.environ.get(self.variable, "").strip() or None
        assert self.file is not None
        try:
            return Path(self.file).read_text().strip() or None
        except (OSError, UnicodeDecodeError):
            return None


class RemoteEntry(Frozen):
    """A model of another server, as the gateway's Serve config lists it.

    ``base_url`` ends where OpenAI's does (``…/v1``); ``model`` is the name it has there. Without a
    ``key`` none is sent that means anything. ``created`` is in Unix seconds. ``max_retries`` is how
    often a call is repeated from here: by default never, for the clients repeat by themselves.
    """

    name: str
    base_url: str
    model: str
    key: RemoteKey | None = None
    aliases: tuple[str, ...] = ()
    timeout_seconds: float = Field(default=USUAL_TIMEOUT_SECONDS, gt=0)
    max_retries: int = Field(default=0, ge=0, le=10)
    created: int = 0

    @property
    def where(self) -> str:
        """Where it is, in words for the operator."""
        return f"{self.model} at {self.base_url}"

    @field_validator("base_url")
    @classmethod
    def _a_plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an address that starts with http:// or https://")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("expected an address without user, query or fragment")
        return url.rstrip("/")
