"""How exacting the OpenAI routes are: the operator's settings, as the mapping sees them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class UnknownFields(StrEnum):
    """What becomes of a field that neither OpenAI nor the model knows."""

    ERROR = "error"
    REPORT = "report"
    """It is listed in the answer's ``ignored``, save pictures: those are always refused."""


class DefaultFormat(StrEnum):
    """How pictures are handed over where a request does not say."""

    AUTO = "auto"
    """By the model's name: base64 for GPT Image names, URLs for DALL·E names, both for any other."""
    B64_JSON = "b64_json"
    URL = "url"
    BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """``strict`` answers as OpenAI does: nothing of ours, nothing unknown, nothing ignored.

    ``urls`` says whether this server can hand pictures over as URLs at all.
    """

    strict: bool = False
    unknown_fields: UnknownFields = UnknownFields.ERROR
    default_response_format: DefaultFormat = DefaultFormat.AUTO
    urls: bool = True
