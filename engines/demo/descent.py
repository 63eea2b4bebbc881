"""The training loop: descent for a given time, in step with other processes, between checkpoints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engines.demo.groupnorm import fast_group_norm
from engines.demo.workers import Average, Clock, Worker, cosine, load_checkpoint, save_checkpoint


@dataclass(frozen=True, slots=True)
class Settings:
    """How a stage descends; ``hold`` is the share of time at full rate, ``average`` the average's decay."""

    label: str
    learning_rate: float
    average: float
    hold: float = 0.0
    warm_up: int = 100
    weight_decay: float = 0.01
    save_every: int = 100


class Descent:
    """Trains parameters for ``seconds``; picks up where ``checkpoint`` stopped.

    ``kept`` are further tensors of the state, such as running statistics; they are updated in place.
    """

    def __init__(
        self,
        worker: Worker,
        parameters: Sequence[Tensor],
        settings: Settings,
        *,
        seconds: float,
        checkpoint: Path,
        kept: Sequence[Tensor] = (),
    ) -> None:
        self.worker, self.parameters, self.settings = worker, list(parameters), settings
        self.checkpoint, self.kept, self.step = checkpoint, list(kept), 0
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimiser = torch.optim.AdamW(
            groups, lr=settings.learning_rate, betas=(0.9, 0.99), foreach=True
        )
        self._average = Average(self.parameters, settings.average)
        self._clock = Clock(seconds)
        self._restore()

    @torch.no_grad()
    def _restore(self) -> None:
        state = load_checkpoint(self.checkpoint)
        if state is None:
            return
        for group in ("parameters", "kept"):
            for mine, stored in zip(getattr(self, group), state[group], strict=True):
                mine.copy_(stored)
        for mine, stored in zip(self._average.values, state["average"], strict=True):
            mine.copy_(stored)
        self._optimiser.load_state_dict(state["optimiser"])
        self._clock.spent, self.step = state["spent"], state["step"]

    def _save(self) -> None:
        state = {
            "parameters": [p.detach() for p in self.parameters],
            "kept": self.kept,
            "average": self._average.values,
            "optimiser": self._optimiser.state_dict(),
            "spent": self._clock.spent,
            "step": self.step,
        }
        save_checkpoint(self.checkpoint, state)

    def run(self, loss: Callable[[], Tensor]) -> None:
        """Descends until the time is spent, then leaves the average in the parameters."""
        settings, recent = self.settings, []
        with fast_group_norm():
            while (share := self._clock.tick(self.worker)) < 1:
                warm = min(1.0, (self.step + 1) / settings.warm_up)
                for group in self._optimiser.param_groups:
                    group["lr"] = settings.learning_rate * warm * cosine(share, hold=settings.hold)
                recent.append(self._descend(loss()))
                if self.worker.leads and self.step % settings.save_every == 0:
                    mean = sum(recent) / len(recent)
                    print(f"{settings.label} step {self.step} share {share:.3f} loss {mean:.4f}", flush=True)
                    recent.clear()
                    self._save()
        self._average.store(self.parameters)

    def _descend(self, loss: Tensor) -> float:
        self._optimiser.zero_grad(set_to_none=False)
        loss.backward()  # type: ignore[no-untyped-call]  # torch
        self.worker.average_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self._optimiser.step()
        self.step += 1
        self._average.update(self.parameters, self.step)
        return loss.item()
