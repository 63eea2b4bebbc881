"""The gateway's settings: one frozen object, built once, travelling in its Serve config."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field, JsonValue, field_validator

from compat.policy import DefaultFormat, Policy, UnknownFields
from engines.schema import Frozen
from gateway.limits import Limits

ENVIRONMENT_PREFIX: Final = "KANDINSKY_"
DIGEST: Final = "sha256:"
EVERY_NODE: Final = "every-node"
"""Of `Settings.gateways`."""
SECRET_PREFIX: Final = "whsec_"
DATABASES: Final = ("postgresql://", "sqlite:///")


def digest(key: str) -> str:
    """What is kept of an API key."""
    return DIGEST + hashlib.sha256(key.encode()).hexdigest()


class Settings(Frozen):
    """Every setting with its default; the description is its help text.

    An unknown key or a bad value stops the start (Pydantic's ``ValidationError`` names it).
    """

    hold_seconds: float = Field(
        default=280.0,
        ge=0,
        description="How long an OpenAI call is held while its model loads, before a 503.",
    )
    max_request_seconds: float | None = Field(
        default=None,
        gt=0,
        description="How long a call may take in all, waiting and waking included, before it is ended with a "
        "504; a call may ask for less with `timeout`.",
    )
    max_concurrent_per_key: int = Field(
        default=0,
        ge=0,
        description="How many calls that draw one key (or, without keys, one address) may have under way at "
        "once, before a 429; 0 for any number.",
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
    max_file_mb: int = Field(default=50, ge=1, description="Largest file in a form, in megabytes.")
    upload_idle_seconds: float = Field(
        default=30.0, gt=0, description="How long an upload may pause before it is given up."
    )
    max_image_pixels: int = Field(
        default=64_000_000, ge=1, description="Largest input picture, in pixels (width x height)."
    )
    fetch_image_urls: bool = Field(
        default=False,
        description="Fetch input pictures from http(s) addresses; only public ones, and of `fetch_networks`.",
    )
    fetch_networks: tuple[str, ...] = Field(
        default=(), description="Networks (CIDR) whose addresses may be fetched although they are private."
    )
    storage_url: str | None = Field(
        default=None,
        description="Where pictures and files are kept, as fsspec names it: a folder, s3://bucket/prefix …; "
        "by default the state folder, or memory where there is none.",
    )
    storage_options: dict[str, JsonValue] = Field(
        default={}, description="Options of the storage's file system, as JSON (endpoint_url, key, secret …)."
    )
    url_seconds: int = Field(
        default=3600, ge=3600, description="How long the URL of a picture works, in seconds."
    )
    public_url: str | None = Field(
        default=None, description="What clients call this server, for URLs; else the request's Host tells."
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(), description="Networks (CIDR) of proxies whose X-Forwarded headers are believed."
    )
    database_url: str | None = Field(
        default=None,
        repr=False,
        description="Where jobs, webhooks and answers to repeat are written down: "
        "postgresql://user:password@host/name, which several gateways can share; by default a file in the "
        "state folder, or a temporary one where there is none.",
    )
    job_seconds: int = Field(
        default=86400,
        ge=3600,
        description="How long a job (`Prefer: respond-async`) may wait, and how long it is kept after its "
        "end, in seconds.",
    )
    max_jobs_per_key: int = Field(
        default=1000,
        ge=0,
        description="How many jobs of one key (or, without keys, one address) may wait to be drawn, before a "
        "429; 0 for any number.",
    )
    idempotency_seconds: int = Field(
        default=86400,
        ge=60,
        description="How long the answer to a request with an `Idempotency-Key` is kept for repetitions, in "
        "seconds.",
    )
    webhook_secrets: tuple[str, ...] = Field(
        default=(),
        repr=False,
        description="Secrets that webhooks are signed with: `whsec_` and base64 of 24 to 64 bytes; every one "
        "signs. Without any, none are sent. They can be read in Ray's dashboard.",
    )
    webhook_networks: tuple[str, ...] = Field(
        default=(), description="Networks (CIDR) that webhooks may go to although they are private."
    )
    api_keys: tuple[str, ...] = Field(
        default=(),
        repr=False,
        description="Keys that clients must send; without any, everybody may call. Kept as digests.",
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Web origins whose pages may call this server; * for all."
    )
    allow_pickles: bool = Field(
        default=True,
        description="Open checkpoints that are pickles (.ckpt, .pt, .bin); nothing in them is executed. "
        "`false` refuses them: then only safetensors are loaded.",
    )
    swap_patience_seconds: float = Field(
        default=30.0,
        ge=0,
        description="How long a model may wait for the room of a busy one before that one gives no more "
        "turns, in seconds.",
    )
    gpu_memory_share: float = Field(
        default=0.92,
        gt=0,
        le=1,
        description="Part of a GPU's memory that the models on it may fill together.",
    )
    host_memory_gb: float | None = Field(
        default=None,
        gt=0,
        description="Memory of each node that models without a GPU may fill together, in 2**30 bytes; by "
        "default what Ray found there.",
    )
    parking_gb: float = Field(
        default=0.0,
        ge=0,
        description="Memory of the host for the weights of models that made room on a GPU, in 2**30 bytes: "
        "they come back faster from there.",
    )
    spare_engines: int = Field(
        default=1,
        ge=0,
        description="Processes with all libraries imported that wait on each node for the next model that "
        "wakes; each holds about 470 MB. 0 for none: a wake then takes the seconds of the imports longer.",
    )
    failure_backoff_seconds: float = Field(
        default=2.0,
        gt=0,
        description="Pause after a failed load; doubled by each further failure, up to 60 s.",
    )
    gateways: int | Literal["every-node"] = Field(
        default=1,
        description="How many gateways answer: a number, all on the head's machine, or `every-node`: one on "
        "each machine of the cluster, behind that machine's own port; they need a shared `storage_url`.",
    )
    state_folder: str | None = Field(
        default=None, description="Folder in which what was learned of models (schemas, load times) is kept."
    )

    @field_validator(
        "fetch_networks",
        "trusted_proxies",
        "api_keys",
        "cors_origins",
        "webhook_secrets",
        "webhook_networks",
        mode="before",
    )
    @classmethod
    def _listed(cls, value: object) -> object:
        """A variable of the environment holds a list with commas."""
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("gateways", mode="before")
    @classmethod
    def _counted(cls, value: object) -> object:
        if value == EVERY_NODE:
            return value
        number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
        # A bool is an int to Python.
        if type(number) is not int or number < 1:
            raise ValueError(f"expected a number from 1, or {EVERY_NODE}")
        return number

    @field_validator("storage_options", mode="before")
    @classmethod
    def _parsed(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(DATABASES):
            raise ValueError(f"expected an address that starts with {' or '.join(DATABASES)}")
        return value

    @field_validator("webhook_secrets")
    @classmethod
    def _webhook_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for secret in value:
            # Not quoted in the message: it is a secret.
            if not secret.startswith(SECRET_PREFIX) or not 24 <= len(_decoded(secret)) <= 64:
                raise ValueError(f"expected {SECRET_PREFIX} and base64 of 24 to 64 bytes")
        return value

    @field_validator("fetch_networks", "trusted_proxies", "webhook_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator("api_keys")
    @classmethod
    def _digested(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(key if key.startswith(DIGEST) else digest(key) for key in value)

    @property
    def limits(self) -> Limits:
        """What of it concerns request bodies."""
        return Limits(
            body=self.max_body_mb << 20, file=self.max_file_mb << 20, pause=self.upload_idle_seconds
        )

    @property
    def policy(self) -> Policy:
        """What of it concerns the reading of OpenAI's requests."""
        return Policy(
            strict=self.strict,
            unknown_fields=self.unknown_fields,
            default_response_format=self.default_response_format,
        )


def _decoded(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        return b""


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings from ``KANDINSKY_<NAME>`` variables; absent ones keep their defaults."""
    given = {
        name: environment[variable]
        for name in Settings.model_fields
        if (variable := ENVIRONMENT_PREFIX + name.upper()) in environment
    }
    return Settings.model_validate(given)
