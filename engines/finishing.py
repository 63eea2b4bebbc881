"""Finished pictures encoded in threads of their own, while the pipeline draws the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from engines.calls import EncodedImage, EngineCall, ImageFormat

if TYPE_CHECKING:
    from engines.generation import Generated


class Finishing:
    """Makes files of pictures."""

    def __init__(self) -> None:
        self._encoders = ThreadPoolExecutor(2, thread_name_prefix="encode")

    async def encoded(
        self, pictures: Sequence[tuple[Any, int]], call: EngineCall
    ) -> tuple[EncodedImage, ...]:
        """A file for each picture, which comes with its seed."""
        loop = asyncio.get_running_loop()
        files = (loop.run_in_executor(self._encoders, _encode_one, *each, call) for each in pictures)
        return tuple(await asyncio.gather(*files))

    async def finished(self, generated: Generated, call: EngineCall) -> tuple[EncodedImage, ...]:
        """The files of a call's pictures, for a GIF with the pictures of the way as its frames."""
        if call.format is not ImageFormat.GIF:
            return await self.encoded(generated.images, call)
        loop = asyncio.get_running_loop()
        ways = zip(generated.images, generated.frames, strict=True)
        animated = (
            loop.run_in_executor(self._encoders, _animate_one, image, seed, frames, call)
            for (image, seed), frames in ways
        )
        return tuple(await asyncio.gather(*animated))


def _encode_one(image: Any, seed: int, call: EngineCall) -> EncodedImage:
    from engines.encoding import encode

    return _file(encode(image, call.format, call.compression), image, seed, call)


def _animate_one(image: Any, seed: int, frames: Sequence[Any], call: EngineCall) -> EncodedImage:
    from engines.encoding import animate

    return _file(animate([*frames, image], call.frame_milliseconds), image, seed, call)


def _file(data: bytes, image: Any, seed: int, call: EngineCall) -> EncodedImage:
    return EncodedImage(data=data, format=call.format, width=image.width, height=image.height, seed=seed)
