"""A separately trained network that names what a picture shows; it judges and takes no part in drawing.

It learns from painted scenes that are blurred and roughened: drawn pictures are softer than painted ones.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.demo.attributes import VISIBLE, Value, truth
from engines.demo.autoencoder import as_tensor
from engines.demo.networks import SIZE
from engines.demo.painting import paint
from engines.demo.scenes import sample_scene

BATCH = 32
LEARNING_RATE = 2e-3


class Judge(nn.Module):
    """Answers every question about a batch of pictures (count, 3, 128, 128) from -1 to 1."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in (16, 32, 48, 64, 96):
            layers += [nn.Conv2d(before, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        answers = sum(len(values) for values in VISIBLE.values())
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(96 * 16, 160), nn.ReLU(), nn.Linear(160, answers)
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Returns one table of scores (count, values) for each question."""
        scores: Tensor = self.layers(pictures)
        return torch.split(scores, [len(values) for values in VISIBLE.values()], dim=1)

    @torch.no_grad()
    def answers(self, pictures: npt.NDArray[np.uint8]) -> list[dict[str, Value]]:
        """Returns the most likely attributes of each picture (count, 128, 128, 3)."""
        self.eval()
        tables = [scores.argmax(1).tolist() for scores in self(as_tensor(pictures))]
        named = zip(VISIBLE.items(), tables, strict=True)
        columns = {name: [values[at] for at in table] for (name, values), table in named}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _roughen(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    if rng.random() < 0.6:
        factor = float(rng.uniform(0.35, 0.8))
        small = functional.interpolate(pictures, scale_factor=factor, mode="area")
        pictures = functional.interpolate(small, size=(SIZE, SIZE), mode="bilinear")
    return pictures + torch.randn_like(pictures) * float(rng.uniform(0, 0.06))


def train_judge(steps: int, seed: int) -> Judge:
    """Returns a judge trained on ``steps`` batches of scenes from ``seed``."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    judge = Judge().train()
    optimiser = torch.optim.AdamW(judge.parameters(), lr=LEARNING_RATE, weight_decay=1e-3)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 30) * (1 - step / steps)
        drawn = [sample_scene(rng) for _ in range(BATCH)]
        pictures = as_tensor(np.stack([paint(scene, rng, size=SIZE) for scene in drawn]))
        losses = [
            functional.cross_entropy(
                scores, torch.tensor([values.index(truth(scene)[name]) for scene in drawn])
            )
            for (name, values), scores in zip(VISIBLE.items(), judge(_roughen(pictures, rng)), strict=True)
        ]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]  # torch
        optimiser.step()
    return judge.eval()


def accuracy(judge: Judge, seed: int, count: int) -> dict[str, float]:
    """Returns the share of right answers for each question on freshly painted scenes."""
    rng = np.random.default_rng(seed)
    drawn = [sample_scene(rng) for _ in range(count)]
    given = judge.answers(np.stack([paint(scene, rng, size=SIZE) for scene in drawn]))
    return {name: agreement(name, [truth(scene)[name] for scene in drawn], given) for name in VISIBLE}


def agreement(name: str, wanted: Sequence[Value], given: Sequence[Mapping[str, Value]]) -> float:
    """Returns the share of answers to one question that are as wanted."""
    return float(np.mean([answer[name] == value for answer, value in zip(given, wanted, strict=True)]))


def save_judge(judge: Judge, path: Path) -> None:
    """Writes a judge to a file."""
    torch.save(judge.state_dict(), path)


def load_judge(path: Path) -> Judge:
    """Returns the judge of a file."""
    judge = Judge()
    judge.load_state_dict(torch.load(path, weights_only=True))
    return judge.eval()
