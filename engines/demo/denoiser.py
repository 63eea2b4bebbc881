"""Trains the denoiser (Kandinsky 3's UNet) on latents of fresh pictures; the text encoder stays fixed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import T5Tokenizer

from engines.demo import networks
from engines.demo.descent import Descent, Settings
from engines.demo.networks import Network
from engines.demo.samples import Batch, Sample, SampleStream, pad
from engines.demo.workers import Worker, publish

SINGLES = 12
PAIRS = 6
SETTINGS = Settings("denoiser", learning_rate=1.4e-3, average=0.998, hold=0.3, warm_up=150, save_every=150)
EMPTY_SHARE = 0.12
"""Share of single samples without any text: what the pipeline passes where no negative prompt is given."""
TWIN_WEIGHT = 0.5
"""Weight of the twins' difference.

The plain error hardly feels the colour of an object. In the difference of two pictures that share all else,
their noise too, the colour is everything.
"""


class Denoiser:
    """The UNet, the fixed text encoder that it listens to, and how the two predict."""

    def __init__(self, unet: Network, text: Network, device: torch.device) -> None:
        self.unet, self.text = unet, text
        self.unet.to(device, memory_format=torch.channels_last).train().set_default_attn_processor()
        self.text.to(device).eval().requires_grad_(False)
        self.device = device
        self.signal = networks.signal_levels().to(device)

    def _states(self, samples: Sequence[Sample], silent: Tensor) -> tuple[Tensor, Tensor]:
        tokens, mask = (part.to(self.device) for part in pad([sample.tokens for sample in samples]))
        with torch.no_grad():
            states = self.text(tokens, attention_mask=mask)[0] * mask[:, :, None]
        return states.masked_fill(silent[:, None, None], 0), mask.masked_fill(silent[:, None], 0)

    def _times(self, singles: int, pairs: int, rng: np.random.Generator) -> Tensor:
        """Returns times spread evenly; twins share theirs, mostly noisy ones, at which colours are set."""
        alone = (rng.permutation(singles) + rng.random(singles)) / singles
        twins = np.sqrt((rng.permutation(pairs) + rng.random(pairs)) / pairs)
        shares = torch.from_numpy(np.concatenate([alone, twins, twins]))
        return (shares * len(self.signal)).long().clamp(0, len(self.signal) - 1).to(self.device)

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Returns the mean square error of the predicted velocity plus that of the twins' difference."""
        samples = batch.single + batch.first + batch.second
        singles, pairs = len(batch.single), len(batch.first)
        clean = torch.stack([sample.latents for sample in samples]).float().to(self.device)
        silent = torch.from_numpy(rng.random(len(samples)) < EMPTY_SHARE).to(self.device)
        silent[singles:] = False
        states, seen = self._states(samples, silent)
        times = self._times(singles, pairs, rng)
        level = self.signal[times][:, None, None, None]
        noise = torch.randn_like(clean)
        noise[singles + pairs :] = noise[singles : singles + pairs]
        noisy = level.sqrt() * clean + (1 - level).sqrt() * noise
        velocity = level.sqrt() * noise - (1 - level).sqrt() * clean
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            output = self.unet(
                noisy.contiguous(memory_format=torch.channels_last),
                times,
                encoder_hidden_states=states,
                encoder_attention_mask=seen,
            ).sample
        error: Tensor = output.float() - velocity
        difference = error[singles : singles + pairs] - error[singles + pairs :]
        total: Tensor = error.square().mean() + TWIN_WEIGHT * difference.square().mean()
        return total


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

    The text encoder is the one in ``folder``; ``start`` is a pipeline folder whose UNet to begin from.
    """
    finished = folder / "pipeline"
    if finished.exists():
        return finished
    torch.manual_seed(seed + worker.rank)
    text = networks.text_encoder(folder, len(tokenizer))
    denoiser = Denoiser(networks.unet(start), text, worker.device)
    parameters = list(denoiser.unet.parameters())
    checkpoint = folder / "denoiser.pt"
    descent = Descent(worker, parameters, SETTINGS, seconds=seconds, checkpoint=checkpoint)
    rng = np.random.default_rng([seed, worker.rank, descent.step])
    stream = SampleStream(movq.to(worker.device), tokenizer, rng)
    descent.run(lambda: denoiser.loss(stream.batch(SINGLES, PAIRS), rng))
    if worker.leads:
        parts = {"unet": denoiser.unet, "text_encoder": denoiser.text, "movq": movq}
        publish(networks.pipeline(parts, tokenizer), finished)
    worker.wait()
    return finished
