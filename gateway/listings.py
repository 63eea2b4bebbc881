"""The shapes of the answers about files and batches that are no record themselves."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from gateway.batch import Batch
from gateway.files import StoredFile


class _Page(TypedDict):
    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileList(_Page):
    """A page of files, the newest first."""

    data: list[StoredFile]


class BatchList(_Page):
    """A page of batches, the newest first."""

    data: list[Batch]


class DeletedFile(TypedDict):
    """A file that was forgotten."""

    id: str
    object: Literal["file"]
    deleted: bool
