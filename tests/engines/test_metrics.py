"""The meter measures real work."""

from __future__ import annotations

import mmap
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from engines.calls import ComputeMetrics
from engines.metrics import Meter, find_gpu

HAS_GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs an NVIDIA GPU")
MATRIX = np.ones((600, 600))


def work(rounds: int = 20) -> None:
    for _ in range(rounds):
        MATRIX @ MATRIX


def finished(meter: Meter) -> ComputeMetrics:
    return meter.finish(
        queue_seconds=0.5, load_seconds=2.0, inference_seconds=0.25, encode_seconds=0.125, steps=4
    )


def test_work_shows_as_cpu_time_of_this_process() -> None:
    with Meter(device="cpu") as meter:
        work()
    metrics = finished(meter)
    assert metrics.replica_cpu_percent > 0
    assert metrics.query_duration_seconds > 2.5
    assert metrics.sample_interval_seconds == 0.1


def test_what_is_given_is_passed_on() -> None:
    with Meter(device="cpu") as meter:
        work(1)
    metrics = finished(meter)
    assert (metrics.queue_seconds, metrics.load_seconds) == (0.5, 2.0)
    assert (metrics.inference_seconds, metrics.encode_seconds, metrics.steps) == (0.25, 0.125, 4)


def test_work_in_another_thread_counts_until_the_end() -> None:
    with Meter(device="cpu") as meter:
        work(1)
    before = finished(meter)
    encoder = threading.Thread(target=work, args=(60,))
    encoder.start()
    encoder.join()
    after = finished(meter)
    spent = [m.replica_cpu_percent * (m.query_duration_seconds - 2.5) for m in (before, after)]
    assert spent[1] > spent[0]


def test_memory_that_was_given_back_shows_in_the_peak() -> None:
    # Mapped by hand, since an allocator may keep what it is given back; and large beside what the
    # kernel pages in and out for the libraries meanwhile.
    held = mmap.mmap(-1, 400 * 2**20)
    with Meter(device="cpu") as meter:
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
    held.close()
    metrics = finished(meter)
    assert metrics.replica_memory_peak_mb > metrics.replica_memory_mb + 200
    assert metrics.replica_memory_mb > 30


def test_no_thread_is_left_behind() -> None:
    with Meter(device="cpu"):
        during = [thread.name for thread in threading.enumerate()]
    assert "meter" in during
    assert "meter" not in [thread.name for thread in threading.enumerate()]


def test_the_block_ends_when_the_work_fails() -> None:
    with pytest.raises(ZeroDivisionError), Meter(device="cpu"):
        _ = 1 / 0
    assert "meter" not in [thread.name for thread in threading.enumerate()]


def test_without_a_gpu_its_fields_are_absent_not_zero() -> None:
    with Meter(device="cpu") as meter:
        work(1)
    gpu = {name: value for name, value in finished(meter).model_dump().items() if "gpu" in name}
    assert len(gpu) == 7
    assert set(gpu.values()) == {None}


def test_measuring_imports_no_torch() -> None:
    code = (
        "import sys\nfrom engines.metrics import Meter\n"
        "with Meter(device='cuda:0') as meter: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@needs_gpu
def test_a_gpu_shows_its_memory_its_load_and_its_energy() -> None:
    with Meter(device="cuda:0", interval_seconds=0.05) as meter:
        matrix = torch.ones((8192, 8192), device="cuda:0")
        for _ in range(40):
            matrix = (matrix @ matrix).clamp(0, 1)
        torch.cuda.synchronize()
    metrics = finished(meter)
    assert metrics.replica_gpu_memory_allocated_mb is not None
    assert 256 <= metrics.replica_gpu_memory_allocated_mb <= (metrics.replica_gpu_memory_reserved_mb or 0)
    assert metrics.replica_gpu_memory_used_mb is not None
    assert 256 <= metrics.replica_gpu_memory_used_mb <= (metrics.replica_gpu_memory_total_mb or 0)
    assert metrics.gpu_energy_joules is None or metrics.gpu_energy_joules > 0
    assert 0 <= (metrics.replica_gpu_utilization_peak_percent or 0) <= 100


@needs_gpu
def test_nvml_reads_the_device_that_torch_uses() -> None:
    gpu = find_gpu("cuda:0")
    assert gpu is not None
    total = torch.cuda.get_device_properties("cuda:0").total_memory
    assert gpu.read().memory_total == pytest.approx(total, rel=0.1)
