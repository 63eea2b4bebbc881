"""Kandinsky 2.1's UNet, under the parameter names of ``decoder_fp16.ckpt`` and ``inpainting_fp16.ckpt``.

Written from the published description (ai-forever/Kandinsky-2): guided-diffusion's UNet, ``model/unet.py``,
with scale-shift norms and residual blocks that resample, conditioned as in ``model/text2im_model2_1.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

HEAD_CHANNELS: Final = 64


@dataclass(frozen=True)
class Size:
    """How large the UNet is; by default as released.

    Every level but the first attends, so that its width must be a multiple of 64, and the first one's of 32.
    """

    in_channels: int = 4
    """9 for inpainting: noisy latents, latents of the picture where it is kept, mask (1 where it is kept)."""
    out_channels: int = 8
    """Noise, then the interpolation of the learned variance."""
    model_channels: int = 384
    multipliers: Sequence[int] = (1, 2, 3, 4)
    blocks: int = 3
    context_width: int = 768
    text_width: int = 1024
    pooled_width: int = 768
    image_width: int = 768
    image_tokens: int = 10

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels on each level, the finest first."""
        return tuple(self.model_channels * multiplier for multiplier in self.multipliers)


class Text2ImUNet(nn.Module):
    """Predicts noise of latents under a text and an image embedding."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        embedding = 4 * size.model_channels
        self.size = size
        self.time_embed = nn.Sequential(
            nn.Linear(size.model_channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.clip_to_seq = nn.Linear(size.image_width, size.context_width * size.image_tokens)
        self.to_model_dim_n = nn.Linear(size.text_width, size.context_width)
        self.proj_n = nn.Linear(size.pooled_width, embedding)
        self.ln_model_n = nn.LayerNorm(embedding)
        self.img_layer = nn.Linear(size.image_width, embedding)
        self.input_blocks = nn.ModuleList(_input_blocks(size))
        self.middle_block = _middle_block(size)
        self.output_blocks = nn.ModuleList(_output_blocks(size))
        # The activation is part of the release's norm, and an identity stands in its place.
        self.out = nn.Sequential(
            _norm(size.widths[0]), nn.SiLU(), nn.Conv2d(size.widths[0], size.out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, timesteps: Tensor, *, text: Tensor, pooled: Tensor, image: Tensor) -> Tensor:
        """Noise and variance (n, 8, h, w) of (n, 4 or 9, h, w) at (n,) timesteps 0..999.

        ``text`` (n, t, text_width) are XLM-R's hidden states, padding included; ``pooled`` (n, pooled_width)
        is their masked mean, transformed linearly; ``image`` (n, image_width) is a CLIP image embedding.
        """
        embedding, context = self._conditions(timesteps, text, pooled, image)
        skipped = []
        for block in self.input_blocks:
            x = block(x, embedding, context)
            skipped.append(x)
        x = self.middle_block(x, embedding, context)
        for block in self.output_blocks:
            x = block(torch.cat([x, skipped.pop()], dim=1), embedding, context)
        predicted: Tensor = self.out(x)
        return predicted

    def _conditions(
        self, timesteps: Tensor, text: Tensor, pooled: Tensor, image: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embedding (n, 4 model_channels) and context (n, context_width, image_tokens + t)."""
        time = self.time_embed(sinusoids(timesteps, self.size.model_channels).to(image.dtype))
        embedding = time + self.ln_model_n(self.proj_n(pooled)) + self.img_layer(image)
        image_tokens = self.clip_to_seq(image).reshape(len(image), self.size.image_tokens, -1)
        return embedding, torch.cat([image_tokens, self.to_model_dim_n(text)], dim=1).mT


class Blocks(nn.Sequential):
    """What the release calls one input, middle or output block: a few layers, each given what it needs."""

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor) -> Tensor:  # type: ignore[override]  # three inputs
        """(n, c, h, w) to (n, c', h', w')."""
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, embedding)
            elif isinstance(layer, AttentionBlock):
                x = layer(x, context)
            else:
                x = layer(x)
        return x


class ResBlock(nn.Module):
    """A residual block whose second norm is scaled and shifted by the embedding; it may resample first."""

    def __init__(self, width: int, embedding: int, out_width: int, resample: nn.Module | None = None) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(_norm(width), nn.SiLU(), nn.Conv2d(width, out_width, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * out_width))
        self.out_layers = nn.Sequential(
            _norm(out_width), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(out_width, out_width, 3, padding=1)
        )
        self.resample = resample or nn.Identity()
        self.skip_connection = nn.Identity() if width == out_width else nn.Conv2d(width, out_width, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(n, width, h, w) to (n, out_width, h', w')."""
        norm, activation, convolution = self.in_layers
        inner = convolution(self.resample(activation(norm(x))))
        scale, shift = self.emb_layers(embedding)[..., None, None].chunk(2, dim=1)
        norm, *rest = self.out_layers
        inner = norm(inner) * (1 + scale) + shift
        for layer in rest:
            inner = layer(inner)
        total: Tensor = self.skip_connection(self.resample(x)) + inner
        return total


class AttentionBlock(nn.Module):
    """Attends to the context and to all places in one softmax. Rows of ``qkv`` go head by head: q, k, v."""

    def __init__(self, width: int, context_width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_CHANNELS
        self.norm = _norm(width)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.encoder_kv = nn.Conv1d(context_width, 2 * width, 1)
        self.proj_out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(n, c, h, w) with (n, context_width, t) to (n, c, h, w)."""
        q, k, v = self._by_head(self.qkv(self.norm(x).flatten(2)), 3)
        context_k, context_v = self._by_head(self.encoder_kv(context), 2)
        seen = functional.scaled_dot_product_attention(
            q, torch.cat([context_k, k], dim=2), torch.cat([context_v, v], dim=2)
        )
        total: Tensor = x + self.proj_out(seen.mT.flatten(1, 2)).reshape(x.shape)
        return total

    def _by_head(self, joint: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(n, heads * parts * 64, t) to ``parts`` times (n, heads, t, 64)."""
        return joint.reshape(len(joint), self.heads, parts, HEAD_CHANNELS, -1).mT.unbind(2)


def sinusoids(timesteps: Tensor, width: int) -> Tensor:
    """(n,) timesteps to (n, width): cosines, then sines, of wave lengths from 2 pi to 10000 * 2 pi."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps.float()[:, None] * torch.exp(-math.log(10000) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, width)


def _layers(size: Size, level: int, width: int) -> list[nn.Module]:
    """A residual block from ``width`` to the level's, and its attention if the level has one."""
    out_width = size.widths[level]
    layers: list[nn.Module] = [ResBlock(width, 4 * size.model_channels, out_width)]
    if level:
        layers.append(AttentionBlock(out_width, size.context_width))
    return layers


def _input_blocks(size: Size) -> Iterator[Blocks]:
    """The first convolution, then each level's blocks; a halving block between the levels."""
    width = size.widths[0]
    yield Blocks(nn.Conv2d(size.in_channels, width, 3, padding=1))
    for level, level_width in enumerate(size.widths):
        for _ in range(size.blocks):
            yield Blocks(*_layers(size, level, width))
            width = level_width
        if level < len(size.widths) - 1:
            yield Blocks(ResBlock(width, 4 * size.model_channels, width, nn.AvgPool2d(2)))


def _middle_block(size: Size) -> Blocks:
    width, embedding = size.widths[-1], 4 * size.model_channels
    return Blocks(
        ResBlock(width, embedding, width),
        AttentionBlock(width, size.context_width),
        ResBlock(width, embedding, width),
    )


def _skipped_widths(size: Size) -> list[int]:
    """Channels of what each input block hands over, in order."""
    widths = [size.widths[0]]
    for level, width in enumerate(size.widths):
        halving = level < len(size.widths) - 1
        widths += [width] * (size.blocks + halving)
    return widths


def _output_blocks(size: Size) -> Iterator[Blocks]:
    """Each level's blocks, the lowest first; its last one ends in a doubling block, above the finest."""
    skipped = _skipped_widths(size)
    width = size.widths[-1]
    for level in reversed(range(len(size.widths))):
        for number in range(size.blocks + 1):
            layers = _layers(size, level, width + skipped.pop())
            width = size.widths[level]
            if level and number == size.blocks:
                layers.append(ResBlock(width, 4 * size.model_channels, width, nn.Upsample(scale_factor=2)))
            yield Blocks(*layers)
