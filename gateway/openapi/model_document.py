"""The OpenAPI document of one model: its native routes, and OpenAI's with its own parameters."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

from compat.mapped import Operation
from compat.policy import Policy
from gateway.openapi.bodies import models_own, serving
from gateway.registry import ANY, Entry, ModelEntry, native_path

_PREFIX: Final = "/kandinsky-{model}/v1"
_IMAGES: Final = {
    "/v1/images/generations": Operation.GENERATION,
    "/v1/images/edits": Operation.EDIT,
    "/v1/images/variations": Operation.VARIATION,
}
_SCHEMAS: Final = "#/components/schemas/"


def model_document(
    document: dict[str, Any], entry: Entry, policy: Policy, *, default: bool = False
) -> dict[str, Any]:
    """The part of a server's document that concerns one model, with exactly its own parameters.

    The ``default`` model need not be named. Of a model of another server the parameters are not known.
    """
    schema = entry.schema_ if isinstance(entry, ModelEntry) else None
    made = deepcopy(document)
    made["info"]["title"] = entry.name
    if schema is not None and schema.description:
        made["info"]["description"] = schema.description
    made["paths"] = {
        _named(path, entry): _unparametrised(methods)
        for path, methods in made["paths"].items()
        if path.startswith(_PREFIX)
        or (path in _IMAGES and (schema is None or serving(_IMAGES[path], schema)))
    }
    components = made["components"]["schemas"]
    if schema is not None:
        components |= models_own(schema, policy)
    _name_model(components, entry, needed=policy.strict or not default)
    used = set(_used(made["paths"], components))
    made["components"]["schemas"] = {name: rule for name, rule in components.items() if name in used}
    return made


def _named(path: str, entry: Entry) -> str:
    return native_path(entry.name) + path.removeprefix(_PREFIX) if path.startswith(_PREFIX) else path


def _unparametrised(methods: dict[str, Any]) -> dict[str, Any]:
    """The operations of a path without the model's name, which the path has already."""
    for operation in methods.values():
        left = [each for each in operation.get("parameters", ()) if each["name"] != "model"]
        operation.pop("parameters", None)
        if left:
            operation["parameters"] = left
        for answer in operation["responses"].values():
            answer.pop("links", None)
    return methods


def _name_model(components: dict[str, Any], entry: Entry, *, needed: bool) -> None:
    """OpenAI's bodies name this model, by one of its names."""
    names = [entry.name, *(alias for alias in entry.aliases if alias != ANY)]
    # What answers to every name answers to those of others, too, unless they are there.
    known: dict[str, Any] = {"examples": names} if ANY in entry.aliases else {"enum": names}
    for kind in ("Generation", "Edit", "Variation"):
        for name in (f"{kind}Request", f"{kind}Form"):
            rule = components.get(name)
            if rule is not None:
                rule["properties"]["model"] = {"type": "string", **known}
                if needed:
                    rule["required"] = list(dict.fromkeys(["model", *rule["required"]]))
                if "examples" in rule:
                    rule["examples"] = [{"model": entry.name, **each} for each in rule["examples"]]


def _used(part: Any, components: dict[str, Any], seen: set[str] | None = None) -> Iterator[str]:
    """The names of the schemas that a part of the document needs, directly or not."""
    seen = set() if seen is None else seen
    if isinstance(part, list):
        for each in part:
            yield from _used(each, components, seen)
    elif isinstance(part, dict):
        for key, each in part.items():
            if key == "$ref" and str(each).startswith(_SCHEMAS):
                name = str(each).removeprefix(_SCHEMAS)
                if name not in seen:
                    seen.add(name)
                    yield name
                    yield from _used(components[name], components, seen)
            else:
                yield from _used(each, components, seen)
