"""The gateway's settings: one frozen object, built once, travelling in its Serve config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from compat.policy import DefaultFormat, Policy, UnknownFields
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
        description="Answer as OpenAI does: refuse every field that OpenAI does not know, and every one "
        "that a model cannot honour, instead of reporting it; want a model named.",
    )
    unknown_fields: UnknownFields = Field(
        default=UnknownFields.ERROR,
        description="A field that neither OpenAI nor the model knows: `error` refuses it with near matches, "
        "`report` lists it in the answer's `ignored`.",
    )
    default_response_format: DefaultFormat = Field(
        default=DefaultFormat.AUTO,
        description="What a request without `response_format` gets: `b64_json`, `url`, `both`, or `auto`: by "
        "the model's name, base64 for gpt-image, URLs for dall-e, both for others.",
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


def policy(settings: Settings) -> Policy:
    """The settings as the mapping of OpenAI's requests sees them."""
    return Policy(
        strict=settings.strict,
        unknown_fields=settings.unknown_fields,
        default_response_format=settings.default_response_format,
        urls=False,
    )


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings from ``KANDINSKY_<NAME>`` variables; absent ones keep their defaults."""
    given = {
        name: environment[variable]
        for name in Settings.model_fields
        if (variable := ENVIRONMENT_PREFIX + name.upper()) in environment
    }
    return Settings.model_validate(given)
