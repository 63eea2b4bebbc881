"""What a model takes of a room: resources of Ray's, and memory as declared, measured or estimated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engines.calls import EngineOptions
from engines.card import ModelCard
from engines.deployment import reserved_gpus
from engines.footprint import device_bytes
from gateway.placement import GPU_MEMORY, HOST_MEMORY, Room

GIGABYTE: Final = 2**30
EVERYTHING: Final = float(2**60)
"""More bytes than any room has: a model that needs them gets a room for itself."""

DTYPES: Final = ("float16", "bfloat16", "float32")
"""Those that an engine computes in; a checkpoint's others become float32, see `engines.devices`."""
_WORKING_SHARE: Final = 1.25
_CONTEXT_BYTES: Final = 2**29
"""What comes on top of the weights before it was measured: a quarter for the pipeline's work, and what a
process with a GPU context, or with torch alone, takes."""


def need_of(
    options: EngineOptions, memory_bytes: float, rooms: Sequence[Room], *, gpus: float | None = None
) -> dict[str, float]:
    """The amounts that one copy takes of its room.

    Where engines share a GPU, its memory is counted; where a whole one is reserved, the GPU itself; and
    the host's memory where no GPU is used. ``gpus`` is what a copy was seen to have reserved: that was
    decided when it was deployed, and nodes come and go.
    """
    if gpus is None:
        gpus = reserved_gpus(options, ({"Alive": True, "Resources": room.amounts} for room in rooms))
    need = dict(options.resources)
    if gpus:
        need["GPU"] = gpus
    if gpus < 1:
        need[GPU_MEMORY if gpus else HOST_MEMORY] = memory_bytes
    return need


def memory_of(card: ModelCard, options: EngineOptions, measured: float | None) -> float:
    """Bytes that a copy takes on its device: declared or measured, whichever is more, else estimated."""
    known = [measured, None if options.memory_gb is None else options.memory_gb * GIGABYTE]
    if any(each is not None for each in known):
        return max(each for each in known if each is not None)
    dtype = card.dtype if card.dtype in DTYPES and options.device != "cpu" else "float32"
    if options.dtype != "auto":
        dtype = options.dtype
    weights = device_bytes(card, dtype=dtype, offload=options.offload, quantize=options.quantize).peak
    return _WORKING_SHARE * weights + _CONTEXT_BYTES
