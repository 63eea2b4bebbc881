"""Trains the text encoder, before the denoiser and apart from it, to read captions.

A linear layer on the mean of the encoder's outputs must tell every attribute of the scene behind a caption.
Learning together with the denoiser instead saturated the encoder's attention: white, red, blue and yellow
gave nearly equal outputs, and no later training undid that. Like Kandinsky 3's, the encoder then stays fixed.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import T5Tokenizer

from engines.demo import networks
from engines.demo.attributes import SAID, truth
from engines.demo.captions import describe
from engines.demo.descent import Descent, Settings
from engines.demo.samples import pad, vary
from engines.demo.scenes import Scene, sample_scene
from engines.demo.workers import Worker, publish

BATCH = 80
SETTINGS = Settings("reader", learning_rate=1.5e-3, average=0.99, warm_up=50, save_every=200)


class Reader(nn.Module):
    """A text encoder with one linear layer that answers every question of ``SAID``."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.encoder = networks.text_encoder(None, vocabulary)
        self.answers = nn.Linear(self.encoder.config.d_model, sum(len(values) for values in SAID.values()))

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Returns one table of scores (count, values) for each question."""
        states = self.encoder(tokens, attention_mask=mask)[0] * mask[:, :, None]
        mean = states.sum(1) / mask.sum(1, keepdim=True)
        return torch.split(self.answers(mean), [len(values) for values in SAID.values()], dim=1)


def _captions(tokenizer: T5Tokenizer, rng: np.random.Generator) -> tuple[list[Scene], Tensor, Tensor]:
    drawn = [sample_scene(rng) for _ in range(BATCH)]
    return drawn, *pad([tokenizer(vary(describe(scene, rng), rng))["input_ids"] for scene in drawn])


def _labels(drawn: list[Scene]) -> Iterator[Tensor]:
    known = [truth(scene) for scene in drawn]
    for name, values in SAID.items():
        yield torch.tensor([values.index(answers[name]) for answers in known])


def train_reader(worker: Worker, folder: Path, *, tokenizer: T5Tokenizer, seconds: float, seed: int) -> None:
    """Trains for a time, or goes on from the checkpoint in ``folder``; writes ``folder/text_encoder``."""
    finished = folder / "text_encoder"
    if finished.exists():
        return
    torch.manual_seed(seed)
    reader = Reader(len(tokenizer)).to(worker.device).train()
    parameters = list(reader.parameters())
    descent = Descent(worker, parameters, SETTINGS, seconds=seconds, checkpoint=folder / "reader.pt")
    rng = np.random.default_rng([seed, worker.rank, descent.step, 2])

    def loss() -> Tensor:
        drawn, tokens, mask = _captions(tokenizer, rng)
        tables = reader(tokens.to(worker.device), mask.to(worker.device))
        losses = [
            functional.cross_entropy(scores, right.to(worker.device))
            for scores, right in zip(tables, _labels(drawn), strict=True)
        ]
        return torch.stack(losses).sum()

    descent.run(loss)
    if worker.leads:
        publish(reader.encoder.to("cpu"), finished)
    worker.wait()
