"""Pictures whose numbers overflowed on the way: told as broken, not handed out black.

A value that is not a number (float16 overflows at 65504) spreads over the whole picture, and becomes black
where pixels are cast to integers. A black picture may be what was wished for, so it is the numbers that are
looked at: the latents after a scheduler's last step, and what the autoencoder's decoder gives after it. Where
neither can be seen, a picture of one colour throughout is handed out with a remark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from PIL import Image

from engines.errors import BrokenPicture
from engines.interrupting import decoders
from engines.stepping import Step

ONE_COLOUR: Final = (
    "A picture is of one colour throughout. This pipeline does not show its numbers, so it is not known "
    "whether that is the picture or an overflow."
)


class Finiteness:
    """The watch over one pipeline call: a hook for its steps, and a context for its decoder.

    The device is waited for once a stage, when its last step is made, and once at the end.
    """

    def __init__(self, model: str, pipeline: Any, *, dtype: str) -> None:
        self._model = model
        self._dtype = dtype
        self._decoders = decoders(pipeline)
        self._decoded: list[torch.Tensor] = []
        self._seen = False

    def __call__(self, step: Step) -> Any:
        """Look at the latents of a stage's last step; goes after the hooks that change or decode them.

        Raises:
            BrokenPicture: they are not finite.
        """
        self._decoded.clear()  # it was a preview's
        if step.number >= step.of and isinstance(step.latents, torch.Tensor):
            self._seen = True
            self._require(_finite(step.latents), f"latents after step {step.number}")
        return step.result

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at what the decoder gives while this lasts.

        Raises:
            BrokenPicture: at the end, what it gave last is not finite.
        """
        handles = [each.register_forward_hook(self._note) for each in self._decoders]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        if self._decoded:
            self._seen = True
            self._require(torch.stack(self._decoded).all(), "pixels that its autoencoder decoded")

    def notes(self, pictures: Sequence[Any]) -> tuple[str, ...]:
        """A remark where only the finished pictures can be looked at, and one is of a single colour."""
        if self._seen or not any(_one_colour(each) for each in pictures):
            return ()
        return (ONE_COLOUR,)

    def _note(self, *called: Any) -> None:
        """Takes a module, its inputs and its output."""
        output = called[-1]
        if isinstance(output, torch.Tensor):
            self._decoded.append(_finite(output))

    def _require(self, finite: torch.Tensor, where: str) -> None:
        if not bool(finite):
            raise BrokenPicture(self._model, where, self._dtype)


def _finite(tensor: torch.Tensor) -> torch.Tensor:
    """Whether all values are finite, as a tensor: nothing is waited for."""
    return torch.isfinite(tensor).all()


def _one_colour(picture: Any) -> bool:
    if not isinstance(picture, Image.Image):
        return False
    bands = [picture.getchannel(band).getextrema() for band in picture.getbands()]
    return all(lowest == highest for lowest, highest in bands)
