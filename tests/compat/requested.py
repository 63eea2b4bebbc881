"""Requests made and mapped in one go, on any of the three routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from compat.edits import map_edit, map_variation
from compat.mapped import Mapped, Operation
from compat.mapping import map_generation
from compat.policy import Policy
from compat.requests import parse_edit, parse_generation, parse_variation
from engines.calls import Picture
from engines.card import Preset
from engines.schema import PipelineSchema

REFERENCE: Final = {"image_url": "data:image/png;base64,AAAA"}
GREY_MASK: Final = b"a grey png"


PICTURE: Final = Picture(data=b"a picture", width=512, height=384)


def edit(
    schema: PipelineSchema,
    body: Mapping[str, Any],
    *,
    picture: Picture = PICTURE,
    policy: Policy | None = None,
    form: bool = False,
) -> Mapped:
    """Parse and map an edit; every picture of the request is ``picture``."""
    policy = policy or Policy()
    request = parse_edit(body, schema=schema, policy=policy, form=form)
    return map_edit(
        request,
        schema,
        pictures=[picture] * len(request.images),
        mask=GREY_MASK if request.mask is not None else None,
        preset=Preset(),
        policy=policy,
        request_id="req_1",
    )


def variation(
    schema: PipelineSchema,
    body: Mapping[str, Any],
    *,
    picture: Picture = PICTURE,
    policy: Policy | None = None,
    form: bool = False,
) -> Mapped:
    """Parse and map a variation."""
    policy = policy or Policy()
    request = parse_variation(body, schema=schema, policy=policy, form=form)
    return map_variation(
        request,
        schema,
        picture=picture,
        preset=Preset(),
        policy=policy,
        request_id="req_1",
    )


def generation(
    schema: PipelineSchema, body: Mapping[str, Any], *, policy: Policy | None = None, form: bool = False
) -> Mapped:
    """Parse and map a generation."""
    policy = policy or Policy()
    request = parse_generation(body, schema=schema, policy=policy, form=form)
    return map_generation(request, schema, preset=Preset(), policy=policy, request_id="req_1")


ROUTES: Final = {
    Operation.GENERATION: generation,
    Operation.EDIT: edit,
    Operation.VARIATION: variation,
}

PLAIN: Final[Mapping[Operation, Mapping[str, Any]]] = {
    Operation.GENERATION: {"prompt": "a fox"},
    Operation.EDIT: {"prompt": "a fox", "images": [REFERENCE]},
    Operation.VARIATION: {"image": REFERENCE},
}
"""The least that each route wants."""
