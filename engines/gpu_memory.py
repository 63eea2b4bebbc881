"""How much memory this machine's GPU has, without a context on it: by NVML alone."""

from __future__ import annotations

import pynvml


def gpu_memory_bytes() -> int | None:
    """The memory of the first GPU in bytes, ``None`` where NVML does not tell."""
    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).total)
    except pynvml.NVMLError:
        return None
