"""The OpenAPI document of this server: its routes as FastAPI knows them, and what each reads and answers."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from compat.errors import InvalidUrl, MethodNotAllowed
from gateway.openapi.bodies import any_models
from gateway.openapi.failures import answer, failing_answers
from gateway.openapi.headers import EVERYWHERE, HEADERS, headers
from gateway.openapi.operations import FORM, OPERATIONS, Answer, Described
from gateway.openapi.shapes import reference, schemas
from gateway.settings import Settings

SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, as OpenAI's clients send it."},
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "api-key",
        "description": "A key, as Azure's clients send it.",
    },
}
_KEYED: Final[list[dict[str, list[str]]]] = [{name: []} for name in SCHEMES]
_PICTURES: Final = {"contentType": "image/png, image/jpeg, image/webp, image/gif, application/octet-stream"}
_REMOTE: Final = "RemoteImagesResponse"


def server_document(app: FastAPI, settings: Settings, *, remotes: bool = False) -> dict[str, Any]:
    """Everything that this server answers to, as OpenAPI 3.1; ``remotes`` tells of models elsewhere.

    Raises:
        KeyError: a route is in no row of the table of operations.
    """
    document = get_openapi(
        title=app.title, version=app.version, description=_description(app.description), routes=app.routes
    )
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _complete(operation, OPERATIONS[method, path], keyed=bool(settings.api_keys))
    images = "ImagesResponse"
    shapes = dict(schemas())
    if remotes:
        shapes["OwnImagesResponse"] = shapes[images]
        shapes[images] = {"anyOf": [reference("OwnImagesResponse"), reference(_REMOTE)]}
    document["components"] = {
        "schemas": {**shapes, **any_models(settings.policy)},
        "headers": dict(HEADERS),
        "responses": {
            "UnknownPath": answer(404, (InvalidUrl,)),
            "WrongMethod": answer(405, (MethodNotAllowed,)),
        },
        "securitySchemes": SCHEMES,
    }
    return document


def _description(text: str) -> str:
    return (
        f"{text}\n\n"
        "Every failing answer is OpenAI's error object, for unknown paths (404) and wrong methods (405) too. "
        "Each model has a document of its own at `/kandinsky-<model>/v1/openapi.json`, with its parameters."
    )


def _complete(operation: dict[str, Any], described: Described, *, keyed: bool) -> None:
    """Say what FastAPI does not know of a route, in the place of what it supposes."""
    good = {str(status): _answer(each) for status, each in described.answers.items()}
    operation["responses"] = good | failing_answers(described.failures)
    if described.body:
        content = {media: _body(media, name) for media, name in described.body.items()}
        operation["requestBody"] = {"required": True, "content": content}
    parameters = [*operation.get("parameters", ()), *described.parameters]
    if parameters:
        operation["parameters"] = parameters
    # Without keys everybody may call, and a key is not looked at.
    operation["security"] = [] if described.keyless else _KEYED if keyed else [{}, *_KEYED]


def _answer(described: Answer) -> dict[str, Any]:
    answered: dict[str, Any] = {
        "description": described.description,
        "headers": headers(*EVERYWHERE, *described.headers),
    }
    if described.content:
        answered["content"] = {media: {"schema": schema} for media, schema in described.content.items()}
    if described.links:
        answered["links"] = dict(described.links)
    return answered


def _body(media: str, name: str) -> dict[str, Any]:
    body: dict[str, Any] = {"schema": reference(name)}
    if media == FORM and name in ("EditForm", "VariationForm"):
        fields = ("image", "image[]", "mask") if name == "EditForm" else ("image",)
        body["encoding"] = dict.fromkeys(fields, _PICTURES)
    return body
