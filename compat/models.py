"""OpenAI's model objects, with what a client of a self-hosted model asks next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from compat.sizes import spelled
from engines.schema import PipelineSchema, SizeRule

OWNER: Final = "kandinsky-gateway"
REMOTE_OWNER: Final = "remote"


def model_object(
    name: str,
    *,
    schema: PipelineSchema,
    created: int,
    state: str,
    progress: float | None,
    reason: str | None,
    schema_url: str,
    root: str,
) -> dict[str, Any]:
    """One model under one of its names.

    ``created`` is in Unix seconds; ``root`` is the model's own name, which ``name`` may be an alias
    of; ``state`` is where it stands in its life cycle, ``progress`` the share of its weights that is read
    while it wakes, ``reason`` why it could not be loaded.
    """
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "root": root,
        "state": state,
        "progress": progress,
        "reason": reason,
        "capabilities": [capability.value for capability in schema.capabilities],
        "sizes": _sizes(schema.size),
        "schema_url": schema_url,
    }


def remote_model_object(name: str, *, created: int, state: str, schema_url: str, root: str) -> dict[str, Any]:
    """One model of another server, as `model_object`; what is not known of it is null."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": REMOTE_OWNER,
        "root": root,
        "state": state,
        "progress": None,
        "reason": None,
        "capabilities": None,
        "sizes": None,
        "schema_url": schema_url,
    }


def model_list(objects: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The list of models; OpenAI has no pages here."""
    return {"object": "list", "data": list(objects)}


def _sizes(rule: SizeRule | None) -> dict[str, Any] | None:
    """The default size, the listed ones (empty where any will do), and the multiple of an edge."""
    if rule is None:
        return None
    known = rule.default_width is not None and rule.default_height is not None
    return {
        "default": f"{rule.default_width}x{rule.default_height}" if known else None,
        "supported": [spelled(size) for size in rule.native or rule.fixed],
        "multiple": rule.multiple,
    }
