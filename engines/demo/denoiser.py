"""Trains the text encoder and the denoiser (Kandinsky 3's UNet) together, on latents of fresh pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import T5Tokenizer

from engines.demo import networks
from engines.demo.descent import Descent, Settings
from engines.demo.networks import Network
from engines.demo.samples import Sample, SampleStream, collate
from engines.demo.workers import Worker, publish

BATCH = 20
SETTINGS = Settings("denoiser", learning_rate=1.4e-3, average=0.998, hold=0.3, warm_up=150, save_every=150)
EMPTY_SHARE = 0.09
"""Share of samples without any text: what the pipeline passes as the negative prompt where none is given."""


class Denoiser:
    """The two networks that are trained together, and how they predict."""

    def __init__(self, start: Path | None, tokenizer: T5Tokenizer, device: torch.device) -> None:
        self.unet = networks.unet(start)
        self.text = networks.text_encoder(start, len(tokenizer))
        self.unet.to(device, memory_format=torch.channels_last).train().set_default_attn_processor()
        self.text.to(device).train()
        self.device = device
        self.signal = networks.signal_levels().to(device)

    @property
    def parameters(self) -> list[Tensor]:
        """Returns all weights, in a fixed order."""
        return [*self.unet.parameters(), *self.text.parameters()]

    def loss(self, samples: Sequence[Sample], rng: np.random.Generator) -> Tensor:
        """Returns the mean square error of the predicted velocity over samples, at times spread evenly."""
        tokens, mask = (part.to(self.device) for part in collate(samples))
        clean = torch.stack([sample.latents for sample in samples]).float().to(self.device)
        count = len(samples)
        silent = torch.from_numpy(rng.random(count) < EMPTY_SHARE).to(self.device)
        spread = (rng.permutation(count) + rng.random(count)) / count * len(self.signal)
        times = torch.from_numpy(spread).long().clamp(0, len(self.signal) - 1).to(self.device)
        level = self.signal[times][:, None, None, None]
        noise = torch.randn_like(clean)
        noisy = level.sqrt() * clean + (1 - level).sqrt() * noise
        velocity = level.sqrt() * noise - (1 - level).sqrt() * clean
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            states = self.text(tokens, attention_mask=mask)[0] * mask[:, :, None]
            states = states.masked_fill(silent[:, None, None], 0)
            seen = mask.masked_fill(silent[:, None], 0)
            output = self.unet(
                noisy.contiguous(memory_format=torch.channels_last),
                times,
                encoder_hidden_states=states,
                encoder_attention_mask=seen,
            ).sample
        error: Tensor = (output.float() - velocity).square().mean()
        return error


def train_denoiser(
    worker: Worker,
    folder: Path,
    *,
    movq: Network,
    tokenizer: T5Tokenizer,
    seconds: float,
    seed: int,
    start: Path | None,
) -> Path:
    """Trains for a time, or goes on from the checkpoint in ``folder``; returns the folder of the pipeline.

    ``start`` is a pipeline folder to begin from; its tokenizer must be ``tokenizer``.
    """
    finished = folder / "pipeline"
    if finished.exists():
        return finished
    torch.manual_seed(seed + worker.rank)
    denoiser = Denoiser(start, tokenizer, worker.device)
    checkpoint = folder / "denoiser.pt"
    descent = Descent(worker, denoiser.parameters, SETTINGS, seconds=seconds, checkpoint=checkpoint)
    rng = np.random.default_rng([seed, worker.rank, descent.step])
    stream = SampleStream(movq.to(worker.device), tokenizer, rng)
    descent.run(lambda: denoiser.loss(stream.batch(BATCH), rng))
    if worker.leads:
        parts = {"unet": denoiser.unet, "text_encoder": denoiser.text, "movq": movq}
        publish(networks.pipeline(parts, tokenizer), finished)
    worker.wait()
    return finished
