"""Which of a model's methods serves an operation, and how many pictures it takes."""

from __future__ import annotations

from typing import Final

from compat.errors import Unsupported
from compat.forms import takes_pictures
from compat.parameters import IMAGE, MASK
from compat.vocabulary import MOST_PICTURES
from engines.errors import MissingParameter
from engines.schema import Capability, MethodSchema, PipelineSchema

_UNSUPPORTED: Final = "unsupported_parameter"


def generation_method(schema: PipelineSchema) -> MethodSchema:
    """The method that draws from text alone.

    Raises:
        Unsupported
    """
    if Capability.TEXT_TO_IMAGE not in schema.capabilities:
        raise Unsupported(
            "model", f"The model {schema.model_id!r} cannot draw from text alone. It does: {_able(schema)}."
        )
    return schema.call


def edit_method(schema: PipelineSchema, *, masked: bool) -> MethodSchema:
    """The method that edits a picture: inpainting with a mask; else image-to-image, or the model's
    own call where that takes a picture, as instruction models do.

    Raises:
        Unsupported: the model cannot; a mask is never ignored.
        MissingParameter: the model edits only with a mask, and there is none.
    """
    if masked:
        found = schema.method("inpaint") or (schema.call if _takes(schema.call, MASK) else None)
        if found is None:
            raise Unsupported(
                "mask",
                f"The model {schema.model_id!r} cannot edit within a mask. It does: {_able(schema)}.",
                _UNSUPPORTED,
            )
        return found
    found = schema.method("image_to_image") or (schema.call if _takes(schema.call, IMAGE) else None)
    if found is not None and not _takes(found, MASK):
        return found
    if found is not None or schema.method("inpaint"):
        raise MissingParameter("mask")
    raise Unsupported("model", f"The model {schema.model_id!r} edits no pictures. It does: {_able(schema)}.")


def variation_method(schema: PipelineSchema) -> MethodSchema:
    """The method that makes variations of a picture: the model's own, else as an edit without a mask.

    Raises:
        Unsupported
    """
    own = schema.method("variation")
    if own is not None:
        return own
    try:
        return edit_method(schema, masked=False)
    except (Unsupported, MissingParameter) as error:
        raise Unsupported(
            "model",
            f"The model {schema.model_id!r} makes no variations of a picture. It does: {_able(schema)}.",
        ) from error


def most_pictures(method: MethodSchema) -> int:
    """How many pictures one call combines.

    Nearly every pipeline takes a list where it takes a picture, and makes one result of each; only
    where the description bounds the list are its pictures used together.
    """
    spec = method.find(IMAGE)
    bound = spec.constraints.max_items if spec else None
    return 1 if bound is None else min(bound, MOST_PICTURES)


def _takes(method: MethodSchema, name: str) -> bool:
    spec = method.find(name)
    return spec is not None and spec.visible and takes_pictures(spec.type)


def _able(schema: PipelineSchema) -> str:
    return ", ".join(schema.capabilities) or "nothing known"
