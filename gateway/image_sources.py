"""Input pictures fetched from where a request says they are, and checked, before a model is woken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from compat.errors import Unsupported
from compat.sources import FileId, ImageSource, ImageUrl, Upload
from engines.calls import Picture
from engines.masks import grey_mask
from engines.pictures import check_picture, decode_text
from gateway.fetching import Fetcher

ReadFile = Callable[[str], Awaitable[bytes]]
"""Takes a stored file's id; raises `compat.errors.FileNotStored`."""

OFF: Final = (
    "Addresses are not fetched by this server. Send the picture as a data URI, or store it as a file."
)


class ImageSources:
    """Gets pictures. ``fetcher`` is ``None`` where the server fetches no addresses."""

    def __init__(self, *, max_pixels: int, read_file: ReadFile, fetcher: Fetcher | None) -> None:
        self._max_pixels = max_pixels
        self._read_file = read_file
        self._fetcher = fetcher

    async def pictures(self, sources: Sequence[ImageSource]) -> list[Picture]:
        """The pictures, checked, in their order.

        Raises:
            InvalidImage, Unsupported: of the first that cannot be had.
        """
        several = len(sources) > 1
        return [
            await self._picture(f"image[{number - 1}]" if several else "image", source, number)
            for number, source in enumerate(sources, 1)
        ]

    async def mask(self, source: ImageSource | None, picture: Picture, *, feather: int) -> bytes | None:
        """The mask as a grey PNG for a pipeline, ``None`` where there is none.

        Raises:
            InvalidImage, InvalidMask, Unsupported
        """
        if source is None:
            return None
        data = await self._bytes("mask", source)
        return await asyncio.to_thread(
            grey_mask, "mask", data, picture, feather=feather, max_pixels=self._max_pixels
        )

    async def _picture(self, name: str, source: ImageSource, number: int) -> Picture:
        data = await self._bytes(name, source)
        return await asyncio.to_thread(check_picture, name, data, max_pixels=self._max_pixels, number=number)

    async def _bytes(self, name: str, source: ImageSource) -> bytes:
        match source:
            case Upload(data=data):
                found = data
            case FileId(file_id=file_id):
                found = await self._read_file(file_id)
            case ImageUrl(url=url) if url.startswith("data:"):
                found = decode_text(name, url)
            case ImageUrl(url=url):
                if self._fetcher is None:
                    raise Unsupported(name, OFF)
                found = await self._fetcher.fetch(name, url)
        return found
