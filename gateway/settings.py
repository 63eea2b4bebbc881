"""The gateway's settings: one frozen object, built once, travelling in its Serve config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from engines.schema import Frozen

ENVIRONMENT_PREFIX: Final = "KANDINSKY_"


class Settings(Frozen):
    """Every setting with its default; the description is its help text.

    An unknown key or a bad value stops the start (Pydantic's ``ValidationError`` names it).
    """

    hold_seconds: float = Field(
        default=280.0,
        ge=0,
        description="How long an OpenAI call is held while its model loads, before a 503.",
    )
    strict: bool = Field(
        default=False,
        description="Refuse standard OpenAI fields that a model cannot honour, instead of reporting.",
    )
    max_body_mb: int = Field(
        default=64, ge=1, description="Largest request body, in megabytes (2**20 bytes)."
    )
    failure_backoff_seconds: float = Field(
        default=2.0,
        gt=0,
        description="Pause after a failed load; doubled by each further failure, up to 60 s.",
    )
    state_folder: str | None = Field(
        default=None, description="Folder in which what was learned of models (schemas, load times) is kept."
    )


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings from ``KANDINSKY_<NAME>`` variables; absent ones keep their defaults."""
    given = {
        name: environment[variable]
        for name in Settings.model_fields
        if (variable := ENVIRONMENT_PREFIX + name.upper()) in environment
    }
    return Settings.model_validate(given)
