"""The processes that train together, their clock, and the checkpoints from which a killed training goes on.

On CPU two processes of one thread each beat one process of two threads more than twofold, so the work is
split by data: each process computes the gradient of its own batch and the gradients are averaged (gloo).
"""

import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Worker:
    """One training process: its rank, how many there are, and its device."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Tells whether this process keeps the averaged weights and writes files."""
        return self.rank == 0

    def average(self, value: Tensor) -> Tensor:
        """Replaces a tensor by its mean over all processes, in place, and returns it."""
        if self.count > 1:
            dist.all_reduce(value)
            value /= self.count
        return value

    def wait(self) -> None:
        """Waits until every process has come to this point."""
        if self.count > 1:
            dist.barrier()

    def leave(self) -> None:
        """Parts from the other processes, once all of them are done."""
        if self.count > 1:
            dist.barrier()
            dist.destroy_process_group()

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replaces the gradients by their mean over all processes; a parameter without one counts as zero."""
        if self.count == 1:
            return
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = self.average(torch.cat([grad.reshape(-1) for grad in grads]))
        for parameter, part in zip(
            parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True
        ):
            if parameter.grad is not None:
                parameter.grad.copy_(part.view_as(parameter))


def join(rank: int, count: int, meeting: Path) -> Worker:
    """Joins the other processes (they meet through a file) and returns this one's place among them."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if count > 1:
        dist.init_process_group("gloo", init_method=meeting.resolve().as_uri(), rank=rank, world_size=count)
    return Worker(rank, count, device)


@dataclass(slots=True)
class Clock:
    """Counts the training time of one stage from the first tick on, across restarts; all in seconds."""

    budget: float
    spent: float = 0.0
    _last: float | None = None

    def tick(self, worker: Worker) -> float:
        """Returns the share of the budget that is used up (0 to 1), the same one in every process."""
        now = time.monotonic()
        self.spent += now - (now if self._last is None else self._last)
        self._last = now
        share = torch.tensor([self.spent / self.budget])
        if worker.count > 1:
            dist.broadcast(share, 0)
        return min(1.0, float(share))


def cosine(share: float, *, hold: float = 0.0) -> float:
    """Returns the factor of the learning rate: 1 until ``hold``, then half a cosine down to 0.02."""
    if share <= hold:
        return 1.0
    return max(0.02, 0.5 * (1 + math.cos(math.pi * (share - hold) / (1 - hold))))


class Average:
    """Keeps the running (exponential) average of parameters, which draws better than the last step does."""

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.values = [p.detach().clone() for p in parameters]
        self.decay = decay

    @torch.no_grad()
    def update(self, parameters: Sequence[Tensor], step: int) -> None:
        """Moves the average towards the parameters; early steps count more."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in parameters], 1 - decay)

    @torch.no_grad()
    def store(self, parameters: Sequence[Tensor]) -> None:
        """Writes the average into the parameters."""
        for parameter, value in zip(parameters, self.values, strict=True):
            parameter.copy_(value)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint so that a kill at any moment leaves the old one or the new one, whole."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def publish(network: Any, folder: Path) -> None:
    """Writes a finished network or pipeline so that its folder appears whole or not at all."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    network.save_pretrained(partial)
    os.replace(partial, folder)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Returns the checkpoint, or ``None`` where there is none yet."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return state
