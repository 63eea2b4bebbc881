"""Pictures behind addresses that nobody can guess and that expire.

A name is its expiry and 128 random bits; nothing else is kept about a picture, so a restart forgets
none. An expired name is refused unread. Pictures lie in a folder for each hour of expiry: a sweep lists
only what has expired, however many there are.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from engines.calls import EncodedImage, ImageFormat
from gateway.objects import Objects

FOLDER: Final = "images"
HOUR: Final = 3600

_NAME: Final = re.compile(r"(\d{10})-([0-9a-f]{32})\.(png|jpeg|webp|gif)")
_HOUR: Final = re.compile(r"\d{6,7}")


@dataclass(frozen=True)
class PublishedPicture:
    """Where a published picture lies, and until when (Unix seconds)."""

    path: str
    media_type: str
    expires_at: int


class Storage:
    """The published pictures among some objects. ``clock`` gives Unix seconds."""

    def __init__(self, objects: Objects, *, clock: Callable[[], float] = time.time) -> None:
        self.objects = objects
        self._clock = clock

    async def publish(self, image: EncodedImage, *, seconds: float) -> str:
        """Keep a picture for ``seconds``; returns its name, which ends in the format's extension.

        Raises:
            StorageFailed: the disk is full, the bucket cannot be reached …
        """
        expires_at = int(self._clock() + seconds)
        name = f"{expires_at}-{secrets.token_hex(16)}.{image.format.value}"
        await self.objects.write(_path(name, expires_at), image.data)
        return name

    def find(self, name: str) -> PublishedPicture | None:
        """Where the picture of this name lies; ``None`` where it has expired, or no picture is so called."""
        found = _NAME.fullmatch(name)
        if found is None or int(found[1]) <= self._clock():
            return None
        expires_at = int(found[1])
        return PublishedPicture(_path(name, expires_at), ImageFormat(found[3]).media_type, expires_at)

    def remaining(self, picture: PublishedPicture) -> int:
        """How many seconds a picture is still there."""
        return max(0, int(picture.expires_at - self._clock()))

    async def sweep(self) -> None:
        """Remove the expired pictures."""
        now = self._clock()
        for hour in await self.objects.names(FOLDER):
            if not _HOUR.fullmatch(hour) or int(hour) * HOUR > now:
                continue
            if (int(hour) + 1) * HOUR <= now:
                await self.objects.remove_folder(f"{FOLDER}/{hour}")
                continue
            for name in await self.objects.names(f"{FOLDER}/{hour}"):
                if self.find(name) is None:
                    await self.objects.remove(f"{FOLDER}/{hour}/{name}")


def _path(name: str, expires_at: int) -> str:
    return f"{FOLDER}/{expires_at // HOUR}/{name}"
