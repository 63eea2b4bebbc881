"""Whether a file holds what the hub says that it holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_SHA256_LENGTH: Final = 64
_BLOCK: Final = 2**20


def matches(path: Path, digest: str, go_on: Callable[[], None]) -> bool:
    """Whether the file's content has this digest, which also is the name of its blob in the hub's cache.

    A digest of 64 hexadecimal digits is the SHA-256 of the content (files of Git LFS and Xet); one of 40
    is git's: the SHA-1 of ``blob``, a space, the size in bytes, a zero byte and the content. ``go_on`` is
    called before every MiB and may raise.
    """
    with path.open("rb", buffering=0) as file:
        if len(digest) == _SHA256_LENGTH:
            hashed = hashlib.sha256()
        else:
            size = os.fstat(file.fileno()).st_size
            hashed = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        block = memoryview(bytearray(_BLOCK))
        while count := file.readinto(block):
            go_on()
            hashed.update(block[:count])
    return hashed.hexdigest() == digest
