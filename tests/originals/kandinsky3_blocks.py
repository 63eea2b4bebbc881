"""The layers of Kandinsky 3's UNet; an embedding of the timestep scales and shifts every norm in them."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from torch import Tensor, nn
from torch.nn import functional

HEAD_CHANNELS: Final = 64


class Attention(nn.Module):
    """From ``width`` to ``out_width``, in heads of 64, without biases."""

    def __init__(self, width: int, out_width: int, context_width: int) -> None:
        super().__init__()
        self.to_query = nn.Linear(width, out_width, bias=False)
        self.to_key = nn.Linear(context_width, out_width, bias=False)
        self.to_value = nn.Linear(context_width, out_width, bias=False)
        self.output_layer = nn.Linear(out_width, out_width, bias=False)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """(n, places, width) with (n, t, context_width) to (n, places, out_width)."""
        q, k, v = (
            joint.reshape(len(x), joint.shape[1], -1, HEAD_CHANNELS).transpose(1, 2)
            for joint in (self.to_query(x), self.to_key(context), self.to_value(context))
        )
        visible = None if mask is None else mask.bool()[:, None, None]
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        attended: Tensor = self.output_layer(seen.transpose(1, 2).flatten(2))
        return attended


class TextPooling(nn.Module):
    """Adds to the timestep's embedding what the mean of the text, padding included, sees in the text."""

    def __init__(self, width: int, context_width: int) -> None:
        super().__init__()
        self.attention = Attention(context_width, width, context_width)

    def forward(self, embedding: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(n, width) to the same."""
        pooled: Tensor = self.attention(context.mean(dim=1, keepdim=True), context, mask)
        return embedding + pooled[:, 0]


class ConditionedNorm(nn.Module):
    """A group norm without parameters of its own; ``context_mlp``, at first zero, scales and shifts it."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, affine=False)
        modulation = nn.Linear(embedding, 2 * width)
        nn.init.zeros_(modulation.weight)
        nn.init.zeros_(modulation.bias)
        self.context_mlp = nn.Sequential(nn.SiLU(), modulation)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(n, c, h, w) to the same."""
        scale, shift = self.context_mlp(embedding)[..., None, None].chunk(2, dim=1)
        normal: Tensor = self.norm(x) * (1 + scale) + shift
        return normal


class AttentionBlock(nn.Module):
    """Attention and a feed-forward part of 1x1 convolutions, each with its norm first.

    Without ``context_width`` it attends to its own places.
    """

    def __init__(self, width: int, embedding: int, context_width: int | None) -> None:
        super().__init__()
        self.in_norm = ConditionedNorm(width, embedding)
        self.attention = Attention(width, width, context_width or width)
        self.out_norm = ConditionedNorm(width, embedding)
        self.feed_forward = nn.Sequential(
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.SiLU(), nn.Conv2d(4 * width, width, 1, bias=False)
        )

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        """(n, c, h, w) to the same."""
        places = self.in_norm(x, embedding).flatten(2).mT
        seen = self.attention(places, places if context is None else context, mask)
        x = x + seen.mT.reshape(x.shape)
        total: Tensor = x + self.feed_forward(self.out_norm(x, embedding))
        return total


class Block(nn.Module):
    """One convolution of a residual block; it may double the size before or halve it after."""

    def __init__(self, width: int, embedding: int, out_width: int, *, kernel: int, resample: str) -> None:
        super().__init__()
        self.group_norm = ConditionedNorm(width, embedding)
        self.up_sample = _doubling(width) if resample == "up" else nn.Identity()
        self.projection = nn.Conv2d(width, out_width, kernel, padding=kernel // 2)
        self.down_sample = _halving(out_width) if resample == "down" else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(n, width, h, w) to (n, out_width, h', w')."""
        x = self.up_sample(functional.silu(self.group_norm(x, embedding)))
        convolved: Tensor = self.down_sample(self.projection(x))
        return convolved


class ResBlock(nn.Module):
    """Four blocks, the outer two 1x1, with half the larger width between them, beside a shortcut.

    ``resample`` up happens in the second block, down in the third, and in the shortcut.
    """

    def __init__(self, width: int, embedding: int, out_width: int, *, resample: str = "") -> None:
        super().__init__()
        inner = max(width, out_width) // 2
        widths = pairwise([width, inner, inner, inner, out_width])
        resamples = ("", "up" * (resample == "up"), "down" * (resample == "down"), "")
        self.resnet_blocks = nn.ModuleList(
            Block(before, embedding, after, kernel=kernel, resample=changed)
            for (before, after), kernel, changed in zip(widths, (1, 3, 3, 1), resamples, strict=True)
        )
        self.shortcut_up_sample = _doubling(width) if resample == "up" else nn.Identity()
        self.shortcut_projection = nn.Identity() if width == out_width else nn.Conv2d(width, out_width, 1)
        self.shortcut_down_sample = _halving(out_width) if resample == "down" else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(n, width, h, w) to (n, out_width, h', w')."""
        inner = x
        for block in self.resnet_blocks:
            inner = block(inner, embedding)
        total: Tensor = inner + self.shortcut_down_sample(
            self.shortcut_projection(self.shortcut_up_sample(x))
        )
        return total


class Triple(nn.ModuleList):
    """A residual block, attention to the text (an identity on the first level), and a residual block."""

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c', h', w')."""
        before, attention, after = self
        x = before(x, embedding)
        if isinstance(attention, AttentionBlock):
            x = attention(x, embedding, context, mask)
        last: Tensor = after(x, embedding)
        return last


def _doubling(width: int) -> nn.Module:
    return nn.ConvTranspose2d(width, width, 2, stride=2)


def _halving(width: int) -> nn.Module:
    return nn.Conv2d(width, width, 2, stride=2)
