"""Where the pictures of a request come from, before anybody has looked into them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Upload:
    """A file part of a multipart body. ``content_type`` is what the client says, which is often wrong."""

    data: bytes = field(repr=False)
    filename: str = ""
    content_type: str = ""


@dataclass(frozen=True)
class ImageUrl:
    """A ``data:`` URI, or the address of a picture."""

    url: str = field(repr=False)


@dataclass(frozen=True)
class FileId:
    """A file that was uploaded before."""

    file_id: str


ImageSource = Upload | ImageUrl | FileId
