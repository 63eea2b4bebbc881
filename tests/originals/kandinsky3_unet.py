"""Kandinsky 3's UNet, under the parameter names of ``kandinsky3.pt`` and its Flash and inpainting variants.

Written from the published description (ai-forever/Kandinsky-3 ``model/unet.py``, ``model/nn.py``): bottleneck
residual blocks in threes, every norm of which is scaled and shifted by the timestep and the pooled text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from tests.originals.kandinsky3_blocks import AttentionBlock, ResBlock, TextPooling, Triple


@dataclass(frozen=True)
class Size:
    """How large the UNet is; by default as released.

    Every level but the first attends: widths and ``time_width`` must be multiples of 64, and half the first
    level's width, with which the UNet begins and ends, one of 32.
    """

    in_channels: int = 4
    """9 for inpainting: noisy latents, mask (1 where the picture is kept), latents of what is kept of it."""
    out_channels: int = 4
    widths: Sequence[int] = (384, 768, 1536, 3072)
    blocks: int = 3
    time_width: int = 1536
    context_width: int = 4096


def text_projection(d_in: int, d_out: int) -> nn.Sequential:
    """What is between T5 and the UNet (``projection.pt``): ``0.weight``, ``1.weight``, ``1.bias``."""
    return nn.Sequential(nn.Linear(d_in, d_out, bias=False), nn.LayerNorm(d_out))


class UNet(nn.Module):
    """Predicts the noise of latents under a text."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        ends = size.widths[0] // 2
        self.to_time_embed = nn.Sequential(
            Sinusoids(ends),
            nn.Linear(ends, size.time_width),
            nn.SiLU(),
            nn.Linear(size.time_width, size.time_width),
        )
        self.feature_pooling = TextPooling(size.time_width, size.context_width)
        self.in_layer = nn.Conv2d(size.in_channels, ends, 3, padding=1)
        self.down_samples = nn.ModuleList(_down_levels(size))
        self.up_samples = nn.ModuleList(_up_levels(size))
        self.out_layer = nn.Sequential(
            nn.GroupNorm(32, ends), nn.SiLU(), nn.Conv2d(ends, size.out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, time: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
        """Noise (n, 4, h, w) of (n, 4 or 9, h, w) at (n,) timesteps 0..999.

        ``context`` (n, t, context_width) is the projected text, zero at padding; ``context_mask`` (n, t) is
        true at tokens.
        """
        embedding = self.feature_pooling(self.to_time_embed(time.to(x.dtype)), context, context_mask)
        x = self.in_layer(x)
        skipped = []
        for level in self.down_samples:
            x = level(x, embedding, context, context_mask)
            skipped.append(x)
        # The lowest level's output goes on by itself: its upward twin takes no skip connection.
        skipped.pop()
        for number, level in enumerate(self.up_samples):
            if number:
                x = torch.cat([x, skipped.pop()], dim=1)
            x = level(x, embedding, context, context_mask)
        noise: Tensor = self.out_layer(x)
        return noise


class Sinusoids(nn.Module):
    """(n,) timesteps to (n, width): sines, then cosines; the last frequency is exactly 1/10000."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frequencies = width // 2

    def forward(self, time: Tensor) -> Tensor:
        """The embedding of each timestep."""
        steps = torch.arange(self.frequencies, dtype=time.dtype, device=time.device)
        angles = time[:, None] * torch.exp(-math.log(10000) / (self.frequencies - 1) * steps)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class Level(nn.Module):
    """``resnet_attn_blocks`` of one resolution; all levels but the first have a ``self_attention_block``."""

    def __init__(self, triples: Iterator[Triple], self_attention: nn.Module | None) -> None:
        super().__init__()
        self.resnet_attn_blocks = nn.ModuleList(triples)
        self.self_attention_block = self_attention

    def blocks(self, x: Tensor, embedding: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(n, first width, h, w) to (n, last width, h', w')."""
        for triple in self.resnet_attn_blocks:
            x = triple(x, embedding, context, mask)
        return x

    def to_itself(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(n, c, h, w) to the same."""
        return x if self.self_attention_block is None else self.self_attention_block(x, embedding, None, None)


class DownLevel(Level):
    """Attends to itself first."""

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(n, width above, h, w) to (n, width, h/2, w/2), or h, w on the lowest."""
        return self.blocks(self.to_itself(x, embedding), embedding, context, mask)


class UpLevel(Level):
    """Attends to itself last."""

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(n, width + skipped, h, w) to (n, width above, 2h, 2w), or h, w on the lowest."""
        return self.to_itself(self.blocks(x, embedding, context, mask), embedding)


def _down_levels(size: Size) -> Iterator[DownLevel]:
    """The last residual block of every level but the lowest halves the size."""
    above = size.widths[0] // 2
    for level, width in enumerate(size.widths):
        triples = _down_triples(size, level, above)
        yield DownLevel(triples, _self_attention(size, level, above))
        above = width


def _down_triples(size: Size, level: int, above: int) -> Iterator[Triple]:
    width = size.widths[level]
    halving = level < len(size.widths) - 1
    for number in range(size.blocks):
        last = number == size.blocks - 1
        yield Triple(
            [
                ResBlock(width if number else above, size.time_width, width),
                _text_attention(size, level, width),
                ResBlock(width, size.time_width, width, resample="down" if last and halving else ""),
            ]
        )


def _up_levels(size: Size) -> Iterator[UpLevel]:
    """The lowest first; the first residual block of each other one doubles the size, skipped part and all."""
    for level in reversed(range(len(size.widths))):
        above = size.widths[level - 1] if level else size.widths[0] // 2
        yield UpLevel(_up_triples(size, level, above), _self_attention(size, level, above))


def _up_triples(size: Size, level: int, above: int) -> Iterator[Triple]:
    """The width changes in the second residual block of a triple."""
    width = size.widths[level]
    doubling = level < len(size.widths) - 1
    widths = [width * (1 + doubling), *[width] * (size.blocks - 1), above]
    for number, (before, after) in enumerate(pairwise(widths)):
        first = number == 0
        yield Triple(
            [
                ResBlock(before, size.time_width, before, resample="up" if first and doubling else ""),
                _text_attention(size, level, before),
                ResBlock(before, size.time_width, after),
            ]
        )


def _text_attention(size: Size, level: int, width: int) -> nn.Module:
    return AttentionBlock(width, size.time_width, size.context_width) if level else nn.Identity()


def _self_attention(size: Size, level: int, width: int) -> nn.Module | None:
    return AttentionBlock(width, size.time_width, None) if level else None
