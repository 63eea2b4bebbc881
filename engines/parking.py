"""A model's weights set aside in the host's memory, the process and everything else kept as it is.

Coming back is then one copy instead of a load. What shared memory shares it again, and the numbers are the
same, bit for bit. The host's copy lies in pinned slabs, which a GPU reads several times faster than other
memory.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import torch

from engines.calls import EngineOptions
from engines.devices import cuda_in_use
from engines.offloading import DEVICES, Offload
from engines.prefetching import available_memory

if TYPE_CHECKING:
    from engines.loading import LoadedModel

_logger = logging.getLogger(__name__)

SLAB_BYTES: Final = 2**28
"""A power of two: torch rounds pinned memory up to one."""
_ALIGNMENT: Final = 64
_ROOM: Final = 1.25
"""Of the host's memory that the weights take: how much must be available."""

Tell = Callable[[int, int], None]
"""Takes the bytes moved, and how many there are."""


def refusal(model: LoadedModel, options: EngineOptions) -> str | None:
    """Why setting a model aside makes no sense, in words; ``None`` where it does."""
    if model.device.partition(":")[0] not in DEVICES:
        return f"on {model.device} the weights lie in the host's memory anyway"
    if options.offload is not Offload.NONE:
        return "with offloading the weights are moved about already"
    if options.quantize:
        return "quantised weights are no plain tensors, and are not moved"
    size = Parked(model).size
    if size * _ROOM > available_memory():
        return f"the host has no room for {size / 2**30:.1f} GiB of weights"
    return None


class Parked:
    """The weights of a model that can be set aside, and come back; ``pin`` asks for pinned memory."""

    def __init__(self, model: LoadedModel, *, pin: bool = True) -> None:
        self._device = model.device
        self._pin = pin
        self._blocks = list(_blocks(model))
        self._aside: list[_Block] = []
        self.size = sum(block.size for block in self._blocks)
        """Bytes of all weights."""

    def park(self) -> None:
        """Move the weights to the host, and give the device's memory back.

        Raises:
            RuntimeError: the host's memory has run out; the weights not yet moved are where they were.
        """
        slabs = _Slabs(pin=self._pin)
        for block in self._blocks:
            block.move(slabs.place(block.size))
            self._aside.append(block)
        _settle()
        if cuda_in_use():
            torch.cuda.empty_cache()

    def restore(self, tell: Tell) -> None:
        """Move what was set aside back to the device, and let the host's copy go.

        Raises:
            RuntimeError: there is no room for it on the device any more.
        """
        moved = 0
        while self._aside:
            block = self._aside[-1]
            block.move(torch.empty(block.size, dtype=torch.uint8, device=self._device))
            self._aside.pop()
            moved += block.size
            tell(moved, self.size)
        _settle()
        if cuda_in_use():
            _empty_host_cache()


class _Block:
    """A piece of memory, and the tensors that lie in it."""

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
        self._tensors: list[tuple[torch.Tensor, int]] = []

    @property
    def size(self) -> int:
        return len(self._bytes)

    def add(self, tensor: torch.Tensor) -> None:
        self._tensors.append((tensor, int(tensor.storage_offset())))

    def move(self, place: torch.Tensor) -> None:
        """Copy the memory to ``place``, bytes of its size, and let the tensors lie there."""
        self._bytes = place.copy_(self._bytes, non_blocking=True)
        for tensor, within in self._tensors:
            offset = place.storage_offset() // tensor.element_size() + within
            there = torch.empty(0, dtype=tensor.dtype, device=place.device)
            # The tensor stays the object that its module, and whoever shares it, knows.
            tensor.data = there.set_(place.untyped_storage(), offset, tensor.size(), tensor.stride())


class _Slabs:
    """Places in the host's memory, cut from large pieces: each pinning is a slow call."""

    def __init__(self, *, pin: bool) -> None:
        self._pin = pin
        self._rest = torch.empty(0, dtype=torch.uint8)

    def place(self, size: int) -> torch.Tensor:
        """A place for ``size`` bytes."""
        if size > len(self._rest):
            self._rest = self._allocated(max(size, SLAB_BYTES))
        place, taken = self._rest[:size], -(-size // _ALIGNMENT) * _ALIGNMENT
        self._rest = self._rest[taken:]
        return place

    def _allocated(self, size: int) -> torch.Tensor:
        if self._pin:
            try:
                return torch.empty(size, dtype=torch.uint8, pin_memory=True)
            except RuntimeError as error:  # a limit on locked memory; other memory does, more slowly
                _logger.warning("the weights are set aside in memory that is not pinned: %s", error)
                self._pin = False
        return torch.empty(size, dtype=torch.uint8)


def _blocks(model: LoadedModel) -> Iterator[_Block]:
    """The memory of all weights and buffers on the model's device, each piece once."""
    found: dict[int, _Block] = {}
    seen: set[int] = set()
    kind = torch.device(model.device).type
    for tensor in _tensors(model):
        if id(tensor) not in seen and tensor.device.type == kind and tensor.numel():
            seen.add(id(tensor))
            storage = tensor.untyped_storage()
            found.setdefault(storage.data_ptr(), _Block(storage)).add(tensor)
    yield from found.values()


def _tensors(model: LoadedModel) -> Iterator[torch.Tensor]:
    for pipeline in model.pipelines.values():
        for component in pipeline.components.values():
            if isinstance(component, torch.nn.Module):
                yield from component.parameters()
                yield from component.buffers()


def _settle() -> None:
    """Wait for the copies, and let go what nobody holds any more."""
    if cuda_in_use():
        torch.cuda.synchronize()
    gc.collect()


def _empty_host_cache() -> None:
    """Give back the pinned memory that torch keeps for later. torch 2.11 has no public name for it."""
    public = getattr(torch.accelerator, "empty_host_cache", None)
    empty = public or getattr(torch._C, "_host_emptyCache", None)
    if empty is not None:
        empty()
