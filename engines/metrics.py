"""What a request costs: the process by psutil, the GPU by NVML and torch, sampled while it runs."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any, Final

import psutil
import pynvml

from engines.calls import ComputeMetrics

SAMPLE_INTERVAL_SECONDS: Final = 0.1
_MEGABYTE: Final = 2**20


@dataclass(frozen=True)
class GpuReading:
    """One look at the GPU through NVML: percent, bytes, and millijoules since the driver's start.

    It is of the whole device, other processes included. What the device does not tell is ``None``.
    """

    utilization: int | None
    memory_used: int | None
    memory_total: int | None
    energy: int | None


class Gpu:
    """The GPU behind a torch device, as NVML knows it."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def read(self) -> GpuReading:
        """Ask NVML; takes well under a millisecond, in a virtual machine a few."""
        utilization = _asked(pynvml.nvmlDeviceGetUtilizationRates, self._handle)
        memory = _asked(pynvml.nvmlDeviceGetMemoryInfo, self._handle)
        return GpuReading(
            utilization=None if utilization is None else int(utilization.gpu),
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            energy=_asked(pynvml.nvmlDeviceGetTotalEnergyConsumption, self._handle),
        )

    def own_memory(self) -> int | None:
        """Bytes of the device that this process has, ``None`` where the driver does not know its number.

        In a container processes have numbers of their own, and the driver knows the machine's.
        """
        running = _asked(pynvml.nvmlDeviceGetComputeRunningProcesses, self._handle) or ()
        own = next((each for each in running if each.pid == os.getpid()), None)
        return None if own is None or own.usedGpuMemory is None else int(own.usedGpuMemory)


def find_gpu(device: object) -> Gpu | None:
    """The GPU behind a torch device (``cuda:0``), or ``None`` where it is none or NVML is missing.

    NVML counts all the devices of the machine, torch those in ``CUDA_VISIBLE_DEVICES``: so the
    device is matched by its UUID, not by its number. torch is used only where it is imported.
    """
    return None if _cuda(device) is None else _find_gpu(str(device))


@cache
def _find_gpu(device: str) -> Gpu | None:
    uuid = str(_cuda(device).get_device_properties(device).uuid)
    for kind in ("GPU", "MIG"):
        try:
            pynvml.nvmlInit()
            return Gpu(pynvml.nvmlDeviceGetHandleByUUID(f"{kind}-{uuid}"))
        except pynvml.NVMLError:
            continue
    return None


def _cuda(device: object) -> Any:
    """``torch.cuda`` where it drives ``device``, else ``None``."""
    torch = sys.modules.get("torch")
    if torch is None or not str(device).startswith("cuda") or not torch.cuda.is_available():
        return None
    return torch.cuda


def _torch_memory(device: object) -> tuple[int, int] | tuple[None, None]:
    """Bytes that torch has allocated and reserved on ``device``."""
    cuda = _cuda(device)
    if cuda is None:
        return None, None
    return int(cuda.memory_allocated(device)), int(cuda.memory_reserved(device))


def _asked(question: Any, handle: Any) -> Any:
    try:
        return question(handle)
    except pynvml.NVMLError:
        return None


@cache
def _process() -> psutil.Process:
    return psutil.Process()


def _cpu_seconds() -> float:
    times = _process().cpu_times()
    return times.user + times.system


def resident() -> int:
    """Bytes of the host's memory that this process has. Source: psutil."""
    return int(_process().memory_info().rss)


class Meter:
    """Samples the process and the GPU while its block runs; `finish` adds it up.

    ::

        with Meter(device=model.device) as meter:
            ...
        metrics = meter.finish(...)

    The process's CPU time is counted until `finish`, over all threads, so that encoding in another
    thread belongs to it. The sampling thread lives only as long as the block.
    """

    def __init__(self, *, device: object, interval_seconds: float = SAMPLE_INTERVAL_SECONDS) -> None:
        self._device = device
        self._interval = interval_seconds
        self._gpu = find_gpu(device)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_ended, name="meter", daemon=True)
        self._resident_peak = 0
        self._readings: list[GpuReading] = []

    def __enter__(self) -> Meter:
        self._started = time.monotonic()
        self._cpu_seconds = _cpu_seconds()
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    @property
    def resident_peak(self) -> int:
        """The most bytes of the host's memory that the process had in the block, as far as was sampled."""
        return self._resident_peak

    def _sample_until_ended(self) -> None:
        while not self._ended.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        self._resident_peak = max(self._resident_peak, resident())
        if self._gpu is not None:
            self._readings.append(self._gpu.read())

    def finish(
        self,
        *,
        queue_seconds: float,
        load_seconds: float,
        inference_seconds: float,
        encode_seconds: float,
        steps: int,
    ) -> ComputeMetrics:
        """Add up, after the block; the times and steps given are passed on.

        The query's duration is the time waited (queue and load) and the time since the block began.
        """
        elapsed = time.monotonic() - self._started
        allocated, reserved = _torch_memory(self._device)
        utilization = [each.utilization for each in self._readings if each.utilization is not None]
        last = self._readings[-1] if self._readings else None
        resident_now = resident()
        return ComputeMetrics(
            query_duration_seconds=queue_seconds + load_seconds + elapsed,
            queue_seconds=queue_seconds,
            load_seconds=load_seconds,
            inference_seconds=inference_seconds,
            encode_seconds=encode_seconds,
            steps=steps,
            replica_cpu_percent=100 * (_cpu_seconds() - self._cpu_seconds) / elapsed if elapsed else 0.0,
            replica_memory_mb=resident_now / _MEGABYTE,
            replica_memory_peak_mb=max(resident_now, self._resident_peak) / _MEGABYTE,
            replica_gpu_memory_allocated_mb=_megabytes(allocated),
            replica_gpu_memory_reserved_mb=_megabytes(reserved),
            replica_gpu_memory_total_mb=_megabytes(last.memory_total if last else None),
            replica_gpu_memory_used_mb=_megabytes(last.memory_used if last else None),
            replica_gpu_utilization_percent=sum(utilization) / len(utilization) if utilization else None,
            replica_gpu_utilization_peak_percent=max(utilization, default=None),
            gpu_energy_joules=_joules(self._readings),
            sample_interval_seconds=self._interval,
        )


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / _MEGABYTE


def _joules(readings: list[GpuReading]) -> float | None:
    counters = [each.energy for each in readings if each.energy is not None]
    return (counters[-1] - counters[0]) / 1000 if len(counters) > 1 else None
