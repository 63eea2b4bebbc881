"""What a loaded model takes of its device's memory, at rest and while it draws.

On a GPU that is what torch has reserved, and the context that every process has beside it. Elsewhere the
weights lie in the host's memory: it is then what the process has resident beyond a bare engine's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from engines.exhaustion import Extent, Measured, Shortage, shortage
from engines.metrics import find_gpu, resident
from engines.prefetching import available_memory

CONTEXT_BYTES: Final = 2**29
"""Of a CUDA context with the kernels of a pipeline, where NVML does not tell a process's memory."""
_SLACK: Final = 2**26
"""Bytes that may stay behind after a failed call: workspaces of libraries, made once."""


class Occupancy:
    """The memory of one model on ``device`` (a torch name); ``bare`` bytes are a bare engine's, resident.

    It is told what happens in the pipeline's thread, and may be asked from any.
    """

    def __init__(self, device: str = "cpu", *, bare: int = 0) -> None:
        self._cuda: Any = torch.cuda if device.startswith("cuda") else None  # its functions have no types
        self._device = device
        self._bare = bare
        self._most = 0
        self._context: int | None = None
        self._before = 0
        self._reached = 0
        self._measured: Measured | None = None

    @property
    def most(self) -> int:
        """The most bytes needed so far."""
        return self._most

    def look(self) -> int:
        """Bytes needed by the model as it is now, what torch keeps for the next picture included."""
        now = self._context_bytes() + self._reserved() if self._cuda else max(0, resident() - self._bare)
        self._most = max(self._most, now)
        return now

    def saw_resident(self, peak: int) -> None:
        """Take the highest resident memory (bytes) of the process during a run; means nothing on a GPU."""
        if not self._cuda:
            self._most = max(self._most, peak - self._bare)

    @contextmanager
    def drawing(self, extent: Extent | None) -> Iterator[None]:
        """Measure one pipeline call, which draws ``extent`` where that is known."""
        if not self._cuda:
            yield
            return
        self._before = int(self._cuda.memory_allocated(self._device))
        self._cuda.reset_peak_memory_stats(self._device)
        try:
            yield
        finally:
            self._reached = int(self._cuda.max_memory_allocated(self._device)) - self._before
            self._most = max(self._most, self._context_bytes() + self._reserved(peak=True))
        if extent is not None and (self._measured is None or extent.pixels >= self._measured.pixels):
            self._measured = Measured(extent.pixels, self._reached)

    def shortage(self, asked: Extent) -> Shortage:
        """What ``asked`` was short of, after `drawing` it has failed."""
        return shortage(asked, free=self._free(), reached=self._reached, measured=self._measured)

    def given_back(self) -> bool:
        """Whether the tensors of the last call are gone."""
        return not self._cuda or int(self._cuda.memory_allocated(self._device)) <= self._before + _SLACK

    def _free(self) -> int:
        if self._cuda:
            return int(self._cuda.mem_get_info(self._device)[0])
        return available_memory()

    def _reserved(self, *, peak: bool = False) -> int:
        ask = self._cuda.max_memory_reserved if peak else self._cuda.memory_reserved
        return int(ask(self._device))

    def _context_bytes(self) -> int:
        """Bytes of the device that this process has beside torch's; looked up once."""
        if self._context is None:
            gpu = find_gpu(self._device)
            own = gpu.own_memory() if gpu else None
            self._context = CONTEXT_BYTES if own is None else max(0, own - self._reserved())
        return self._context
