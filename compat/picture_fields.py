"""The fields of a request that carry pictures, in both encodings of the edit route.

JSON has ``images``, an array of objects, and ``mask``, one such object; a form has ``image`` (once,
repeated, or as ``image[]``) and ``mask``, as files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from compat.errors import WrongEncoding
from compat.fields import WrongType, text, type_word
from compat.sources import FileId, ImageSource, ImageUrl, Upload
from compat.vocabulary import MOST_PICTURES
from engines.errors import InvalidParameter, MissingParameter, UnknownParameter

LONGEST_URL: Final = 20_971_520

_REFERENCE: Final = ("image_url", "file_id")


def refuse_other_encoding(given: Mapping[str, Any], *, form: bool) -> None:
    """Refuse the names that belong to the edit route's other encoding.

    Raises:
        WrongEncoding
    """
    if form and "images" in given:
        raise WrongEncoding("images", "For multipart/form-data use 'image' or 'image[]'.")
    if form:
        return
    for name in ("image", "image[]"):
        if name in given:
            raise WrongEncoding(name, "For application/json on /v1/images/edits, use 'images' (array).")


def read_pictures(given: Mapping[str, Any], *, form: bool) -> tuple[ImageSource, ...]:
    """The pictures to edit, at least one.

    Raises:
        MissingParameter, InvalidParameter
    """
    name = "image" if form else "images"
    if name not in given:
        raise MissingParameter("images")
    value = given[name]
    if form and not isinstance(value, list):
        value = [value]
    if not isinstance(value, list):
        raise WrongType(name, "an array of objects", type_word(value))
    if not value:
        raise InvalidParameter(
            name,
            "empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "empty_array",
        )
    if len(value) > MOST_PICTURES:
        raise InvalidParameter(
            name,
            f"array too long. Expected an array with maximum length {MOST_PICTURES}, "
            f"but got an array with length {len(value)} instead.",
            "array_above_max_length",
        )
    if form and len(value) == 1:
        return (read_picture(name, value[0], form=True),)
    return tuple(read_picture(f"{name}[{i}]", item, form=form) for i, item in enumerate(value))


def read_picture(name: str, value: object, *, form: bool) -> ImageSource:
    """One picture: a file of a form, or an object that names an address or an uploaded file.

    Raises:
        InvalidParameter, UnknownParameter
    """
    if form:
        if not isinstance(value, Upload):
            raise WrongType(name, "a file", type_word(value))
        return value
    if not isinstance(value, dict):
        raise WrongType(name, "an object", type_word(value))
    for key in value:
        if key not in _REFERENCE:
            raise UnknownParameter(f"{name}.{key}", (), _REFERENCE)
    named = [key for key in _REFERENCE if value.get(key) is not None]
    if len(named) != 1:
        raise InvalidParameter(name, "expected exactly one of 'image_url' and 'file_id'.")
    if named == ["image_url"]:
        read = text(minimum=1, maximum=LONGEST_URL)
        return ImageUrl(read(f"{name}.image_url", value["image_url"]))
    return FileId(text(minimum=1)(f"{name}.file_id", value["file_id"]))
