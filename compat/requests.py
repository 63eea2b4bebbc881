"""The requests of OpenAI's image routes, read from JSON or from a form.

Faults are looked for in OpenAI's order: the model, unknown keys, the prompt, pictures, ``n``, the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from compat.errors import MalformedBody, Unsupported
from compat.fields import type_word
from compat.forms import field_value, unflattened
from compat.mapped import Ignored, Operation
from compat.methods import edit_method, generation_method, variation_method
from compat.parameters import IMAGE, MASK, PROMPT
from compat.picture_fields import read_picture, read_pictures, refuse_other_encoding
from compat.policy import Policy
from compat.sources import ImageSource
from compat.strict import check_model, check_values, known_fields, of_the_model, reader_for, refuse_foreign
from compat.synonyms import OwnParameters, own_parameters
from compat.vocabulary import READERS
from engines.errors import InvalidParameter, MissingParameter
from engines.schema import MethodSchema, PipelineSchema


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """What the routes share; ``None`` stands for a field that was left out or was null.

    ``extra`` holds the model's own parameters and the seed under their real names; ``unknown`` tells
    of keys that nobody knows, where the policy is to report them. ``timeout`` is in seconds.
    """

    model: str | None = None
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    style: str | None = None
    response_format: str | None = None
    background: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    moderation: str | None = None
    stream: bool | None = None
    partial_images: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    complexity: str | None = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    svg: dict[str, Any] | None = None
    input_fidelity: str | None = None
    timeout: float | None = None
    extra: dict[str, JsonValue] = field(default_factory=dict)
    unknown: tuple[Ignored, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageGenerationRequest(ImageRequest):
    """A picture from a prompt."""

    prompt: str


@dataclass(frozen=True, kw_only=True)
class ImageEditRequest(ImageRequest):
    """Pictures changed by a prompt. ``mask_feather`` softens the mask's edge, in pixels."""

    prompt: str
    images: tuple[ImageSource, ...]
    mask: ImageSource | None = None
    mask_feather: int | None = None


@dataclass(frozen=True, kw_only=True)
class ImageVariationRequest(ImageRequest):
    """Other pictures like one."""

    image: ImageSource


def requested_model(body: object, *, policy: Policy | None = None, form: bool = False) -> str | None:
    """The model that a body names, for callers that look it up before reading the rest.

    Raises:
        MalformedBody, InvalidParameter
        MissingParameter: none is named, in strict use.
    """
    given = _opened(body, form=form)
    if policy is not None and policy.strict:
        check_model(given)
    value = given.get("model")
    return None if value is None else str(READERS["model"]("model", value))


def parse_generation(
    body: object, *, schema: PipelineSchema, policy: Policy | None = None, form: bool = False
) -> ImageGenerationRequest:
    """Read the body of a generation.

    Raises:
        MalformedBody: the body is no object.
        Unsupported: the model draws nothing from text.
        UnknownParameter, MissingParameter, InvalidParameter: in OpenAI's words.
    """
    reading = _Reading(body, Operation.GENERATION, policy=policy or Policy(), form=form)
    own = reading.own_parameters(generation_method(schema))
    prompt = reading.prompt()
    return ImageGenerationRequest(prompt=prompt, **reading.values(own))


def parse_edit(
    body: object, *, schema: PipelineSchema, policy: Policy | None = None, form: bool = False
) -> ImageEditRequest:
    """Read the body of an edit.

    Raises:
        MalformedBody: the body is no object.
        Unsupported: the model edits no pictures, or none with a mask; ``markup``.
        UnknownParameter, MissingParameter, InvalidParameter, WrongEncoding: in OpenAI's words.
    """
    reading = _Reading(body, Operation.EDIT, policy=policy or Policy(), form=form)
    refuse_other_encoding(reading.given, form=form)
    masked = reading.given.get("mask") is not None
    own = reading.own_parameters(_without(edit_method(schema, masked=masked), IMAGE, MASK))
    prompt = reading.prompt()
    images = read_pictures(reading.given, form=form)
    mask = read_picture("mask", reading.given["mask"], form=form) if masked else None
    if reading.given.get("markup") is not None:
        raise Unsupported(
            "markup",
            f"The model {schema.model_id!r} does not support the 'markup' parameter. "
            "Use 'mask' to say where to edit.",
            "unsupported_parameter",
        )
    return ImageEditRequest(prompt=prompt, images=images, mask=mask, **reading.values(own))


def parse_variation(
    body: object, *, schema: PipelineSchema, policy: Policy | None = None, form: bool = False
) -> ImageVariationRequest:
    """Read the body of a variation.

    Raises:
        MalformedBody: the body is no object.
        Unsupported: the model makes none.
        UnknownParameter, MissingParameter, InvalidParameter: in OpenAI's words.
    """
    reading = _Reading(body, Operation.VARIATION, policy=policy or Policy(), form=form)
    own = reading.own_parameters(_without(variation_method(schema), IMAGE))
    if reading.given.get("image") is None:
        raise MissingParameter("image")
    image = read_picture("image", reading.given["image"], form=form)
    return ImageVariationRequest(image=image, **reading.values(own))


class _Reading:
    """One body, read step by step in the order of the faults."""

    def __init__(self, body: object, operation: Operation, *, policy: Policy, form: bool) -> None:
        self.given: Mapping[str, Any] = _opened(body, form=form)
        self._operation = operation
        self._policy = policy
        self._form = form
        self._name = requested_model(body, policy=policy, form=form)
        self._known = known_fields(operation, policy=policy, name=self._name)

    def own_parameters(self, method: MethodSchema) -> OwnParameters:
        """The keys that are not OpenAI's. In strict use there are none."""
        self._known -= of_the_model(method)
        foreign = {name: value for name, value in self.given.items() if name not in self._known}
        if self._policy.strict:
            refuse_foreign(foreign, self._known)
        return own_parameters(
            foreign,
            method,
            known_fields=self._known,
            unknown_fields=self._policy.unknown_fields,
            form=self._form,
        )

    def prompt(self) -> str:
        """The prompt, which is there."""
        if self.given.get("prompt") is None:
            raise MissingParameter("prompt")
        return str(self._read("prompt", self.given["prompt"]))

    def values(self, own: OwnParameters) -> dict[str, Any]:
        """Every other field that carries no picture, in order, and the model's own parameters."""
        values: dict[str, Any] = {}
        for name in READERS:
            if name == PROMPT or name not in self._known:
                continue
            spelled = [(name, self.given.get(name)), *own.spelled(name)]
            for spelling, value in spelled:
                if value is None:
                    continue
                found = self._read(name, value, spelling=spelling)
                if values.setdefault(name, found) != found:
                    raise InvalidParameter(spelling, f"{found} contradicts {name}, which is {values[name]}.")
        if self._policy.strict:
            check_values(values, name=self._name)
        return values | {"extra": own.values, "unknown": own.unknown}

    def _read(self, name: str, value: object, *, spelling: str | None = None) -> Any:
        spelling = spelling or name
        read = reader_for(name, policy=self._policy, model=self._name)
        return read(spelling, field_value(spelling, value, field=name) if self._form else value)


def _without(method: MethodSchema, *names: str) -> MethodSchema:
    """The method without the pictures that fields of OpenAI's carry."""
    left = tuple(spec for spec in method.parameters if spec.name not in names)
    return method.model_copy(update={"parameters": left})


def _opened(body: object, *, form: bool) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise MalformedBody(f"expected a JSON object, but got {type_word(body)} instead")
    return unflattened(body) if form else body
