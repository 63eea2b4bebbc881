"""Trains the picture autoencoder: a MoVQ of 8x reduction whose codebook stays unused, as in Kandinsky 3."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engines.demo.descent import Descent, Settings
from engines.demo.networks import LATENT_CHANNELS, SIZE, Network, movq
from engines.demo.painting import paint
from engines.demo.scenes import sample_scene
from engines.demo.workers import Worker, publish

BATCH = 3
LATENT_NOISE = 0.1
JOINT = Settings("autoencoder", learning_rate=1.6e-3, average=0.995, warm_up=60, weight_decay=1e-4)
TUNING = Settings("decoder", learning_rate=1.6e-3, average=0.997, warm_up=40, weight_decay=1e-4)


def as_tensor(pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    """Returns pictures (count, height, width, 3) as a tensor (count, 3, height, width) from -1 to 1."""
    tensor = torch.tensor(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return tensor.contiguous(memory_format=torch.channels_last)


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Returns absolute error, weighted up to four times on edges, plus that of the gradients and the square.

    Small objects are mostly edge; without the weight the autoencoder spends itself on the sky.
    """
    error = output - target
    across, down = target.diff(dim=-1).abs(), target.diff(dim=-2).abs()
    edge = torch.nn.functional.pad(across, (0, 1)) + torch.nn.functional.pad(down, (0, 0, 0, 1))
    edge = torch.nn.functional.max_pool2d(edge.amax(1, keepdim=True), 3, 1, 1)
    weight = 1 + 3 * (edge * 4).clamp(max=1)
    sharp = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return (error.abs() * weight).mean() + 0.6 * sharp + 0.5 * error.square().mean()


@torch.no_grad()
def reconstruction_psnr(model: Network, seed: int, count: int = 24) -> float:
    """Returns the mean peak signal-to-noise ratio, in dB, over ``count`` pictures painted from ``seed``."""
    rng = np.random.default_rng(seed)
    device = next(model.parameters()).device
    values = []
    for _ in range(count):
        picture = as_tensor(paint(sample_scene(rng), rng, size=SIZE)[None]).to(device)
        output = model.decode(model.encode(picture).latents, force_not_quantize=True).sample.clamp(-1, 1)
        values.append(10 * math.log10(4 / float((output - picture).square().mean())))
    return float(np.mean(values))


class LatentScale:
    """Running mean and deviation of each latent channel.

    Statistics of the small batch itself would erase a picture's mean colour: with them training stalled
    at 23.8 dB.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        self.mean = torch.zeros(channels, device=device)
        self.variance = torch.ones(channels, device=device)

    @torch.no_grad()
    def update(self, latents: Tensor, worker: Worker, step: int) -> None:
        """Takes in a batch of raw latents (batch, channels, height, width)."""
        share = max(0.01, 1 / (step + 2))
        self.mean += (worker.average(latents.mean((0, 2, 3))) - self.mean) * share
        centred = latents - self.mean[:, None, None]
        self.variance += (worker.average(centred.square().mean((0, 2, 3))) - self.variance) * share

    def apply(self, latents: Tensor) -> Tensor:
        """Returns latents with about zero mean and unit deviation."""
        return (latents - self.mean[:, None, None]) / (self.variance + 1e-5).sqrt()[:, None, None]

    @torch.no_grad()
    def fold(self, model: Network) -> None:
        """Writes the scale into the encoder's last layer: Kandinsky 3 has no scaling factor."""
        deviation = (self.variance + 1e-5).sqrt()
        model.quant_conv.weight.div_(deviation[:, None, None, None])
        model.quant_conv.bias.sub_(self.mean).div_(deviation)


def _paint_batch(rng: np.random.Generator) -> Tensor:
    return as_tensor(np.stack([paint(sample_scene(rng), rng, size=SIZE) for _ in range(BATCH)]))


def _decoded_loss(model: Network, latents: Tensor, pictures: Tensor) -> Tensor:
    """Returns the loss of decoding latents that are made a little noisy, as the denoiser's will be."""
    noisy = latents + torch.randn_like(latents) * (LATENT_NOISE * float(torch.rand(())))
    with torch.autocast(pictures.device.type, dtype=torch.bfloat16):
        output = model.decode(noisy, force_not_quantize=True).sample
    return reconstruction_loss(output.float(), pictures)


def _publish(model: Network, worker: Worker, folder: Path, seed: int) -> None:
    if worker.leads:
        print(f"{folder.name}: {reconstruction_psnr(model, seed + 1):.2f} dB", flush=True)
        publish(model.to("cpu", memory_format=torch.contiguous_format), folder)
    worker.wait()  # every process reads what the leading one wrote


def train_autoencoder(worker: Worker, folder: Path, *, seconds: float, seed: int, start: Path | None) -> Path:
    """Trains for a time, or goes on from the checkpoint in ``folder``, and returns the folder of the model.

    ``start`` is a model folder to begin from instead of random weights.
    """
    finished = folder / "autoencoder"
    if finished.exists():
        return finished
    torch.manual_seed(seed)
    model = movq(start).to(worker.device, memory_format=torch.channels_last)
    model.quantize.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    scale = LatentScale(LATENT_CHANNELS, worker.device)
    kept = [scale.mean, scale.variance]
    checkpoint = folder / "autoencoder.pt"
    descent = Descent(worker, parameters, JOINT, seconds=seconds, checkpoint=checkpoint, kept=kept)
    rng = np.random.default_rng([seed, worker.rank, descent.step])

    def loss() -> Tensor:
        pictures = _paint_batch(rng).to(worker.device)
        with torch.autocast(worker.device.type, dtype=torch.bfloat16):
            raw = model.quant_conv(model.encoder(pictures))
        raw = raw.float()
        scale.update(raw.detach(), worker, descent.step)
        return _decoded_loss(model, scale.apply(raw), pictures)

    descent.run(loss)
    scale.fold(model)
    _publish(model, worker, finished, seed)
    return finished


def tune_decoder(worker: Worker, folder: Path, *, seconds: float, seed: int, start: Path) -> Path:
    """Trains only the decoder of the model in ``start``; its latents stay. Returns the folder."""
    finished = folder / "movq"
    if finished.exists():
        return finished
    torch.manual_seed(seed)
    model = movq(start).to(worker.device, memory_format=torch.channels_last).requires_grad_(False)
    parameters = [*model.decoder.parameters(), *model.post_quant_conv.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    descent = Descent(worker, parameters, TUNING, seconds=seconds, checkpoint=folder / "decoder.pt")
    rng = np.random.default_rng([seed, worker.rank, descent.step, 1])

    def loss() -> Tensor:
        pictures = _paint_batch(rng).to(worker.device)
        with torch.no_grad(), torch.autocast(worker.device.type, dtype=torch.bfloat16):
            latents = model.encode(pictures).latents
        return _decoded_loss(model, latents.float(), pictures)

    descent.run(loss)
    _publish(model, worker, finished, seed)
    return finished
