"""What a model of the hub is called: a repository and a revision."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from engines.formats import weights
from engines.schema import Frozen

MAIN: Final = "main"
_HOSTS: Final = ("https://huggingface.co", "https://hf.co")
_LONGEST_NAME: Final = 96
# The hub's rule for names, and what git allows in a revision that is also a safe file name.
_REFERENCE: Final = re.compile(
    r"(?P<repository>[a-z0-9_][\w.-]*/[a-z0-9_][\w.-]*)(?:@(?P<revision>[a-z0-9_][\w.+-]*(?:/[\w.+-]+)*))?",
    re.ASCII | re.IGNORECASE,
)
_NOT_IN_A_NAME: Final = re.compile(r"\.\.|--|[.-]/|[.-]$|\.git$")


class HubReference(Frozen):
    """A repository ("org/name") at a revision: a branch, a tag, or a commit of 40 hexadecimal digits."""

    repository: str
    revision: str = MAIN

    def __str__(self) -> str:
        return self.repository if self.revision == MAIN else f"{self.repository}@{self.revision}"

    @classmethod
    def parse(cls, text: str) -> HubReference | None:
        """Read ``org/name``, ``org/name@revision``, either after ``hf://``, or a model page's address.

        ``None`` for whatever is a path (absolute, from ``.`` or ``~``, there on disk, or with the suffix
        of a weight file) or no reference at all. Reads ``HF_ENDPOINT``: a mirror's addresses count too.
        """
        words = text.strip()
        if words.startswith("hf://"):
            return _named(words.removeprefix("hf://"))
        if words.startswith(("http://", "https://")):
            return _addressed(words)
        return None if _is_path(words) else _named(words)


def _is_path(text: str) -> bool:
    if text.startswith(("/", ".", "~")) or Path(text).suffix in weights.SUFFIXES:
        return True
    return os.path.exists(text)


def _named(text: str) -> HubReference | None:
    match = _REFERENCE.fullmatch(text)
    if match is None or _NOT_IN_A_NAME.search(match["repository"]):
        return None
    revision = match["revision"] or MAIN
    if len(match["repository"]) > _LONGEST_NAME or ".." in revision:
        return None
    return HubReference(repository=match["repository"], revision=revision)


def _addressed(address: str) -> HubReference | None:
    """The reference of ``https://host/org/name`` or ``…/tree/revision``, slashes of it as ``%2F``."""
    place = address.partition("?")[0].partition("#")[0]
    hosts = (*_HOSTS, os.environ.get("HF_ENDPOINT", "").rstrip("/"))
    host = next((host for host in hosts if host and place.startswith(f"{host}/")), None)
    if host is None:
        return None
    match place.removeprefix(f"{host}/").rstrip("/").split("/"):
        case [organisation, name]:
            return _named(f"{organisation}/{name}")
        case [organisation, name, "tree", revision]:
            return _named(f"{organisation}/{name}@{unquote(revision)}")
    return None
