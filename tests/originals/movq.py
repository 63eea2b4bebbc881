"""MoVQ, the autoencoder of Kandinsky 2.1 and 3, under the parameter names of the original releases.

Written from the published description (Kandinsky-2 ``vqgan/``, Kandinsky-3 ``movq.py``, of ai-forever).
The two releases differ in names only: Kandinsky 3 has no codebook, and its encoder wraps each norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeAlias

from torch import Tensor, nn
from torch.nn import functional

NormOf: TypeAlias = Callable[[int], nn.Module]


def kandinsky21(
    *, channels: int = 128, multipliers: Sequence[int] = (1, 2, 2, 4), blocks: int = 2, codes: int = 16384
) -> MoVQ:
    """Kandinsky 2.1's (``movq_final.ckpt``), by default in the released size."""
    return MoVQ(channels, multipliers, blocks=blocks, codes=codes, encoder_norm=PlainNorm)


def kandinsky3(*, channels: int = 256, multipliers: Sequence[int] = (1, 2, 2, 4), blocks: int = 2) -> MoVQ:
    """Kandinsky 3's (``movq.pt``), by default in the released size."""
    return MoVQ(channels, multipliers, blocks=blocks, codes=None, encoder_norm=WrappedNorm)


class MoVQ(nn.Module):
    """Picture (n, 3, h, w) in -1..1 to latents (n, z, h/8, w/8) and back; /8 with four levels."""

    def __init__(
        self,
        channels: int,
        multipliers: Sequence[int],
        *,
        blocks: int,
        codes: int | None,
        encoder_norm: NormOf,
        latent_channels: int = 4,
    ) -> None:
        """With ``codes``, the release holds a codebook; neither pipeline ever looks anything up in it."""
        super().__init__()
        widths = [channels * multiplier for multiplier in multipliers]
        self.encoder = Encoder(widths, blocks=blocks, latent_channels=latent_channels, norm=encoder_norm)
        self.decoder = Decoder(widths, blocks=blocks, latent_channels=latent_channels)
        if codes is not None:
            self.quantize = Codebook(codes, latent_channels)
        self.quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)

    def encode(self, picture: Tensor) -> Tensor:
        """Latents before any quantisation, which is what the diffusion models work on (scale 1)."""
        latents: Tensor = self.quant_conv(self.encoder(picture))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """A picture of latents that are not quantised; the decoder's norms see the latents themselves."""
        picture: Tensor = self.decoder(self.post_quant_conv(latents), latents)
        return picture


class Codebook(nn.Module):
    """Holds ``quantize.embedding.weight`` (codes, z)."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, width)


class PlainNorm(nn.GroupNorm):
    """A group norm that looks at no latents: ``norm1.weight``."""

    def __init__(self, channels: int) -> None:
        super().__init__(32, channels, eps=1e-6)

    def forward(self, input: Tensor, latents: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Normalise (n, c, h, w)."""
        return super().forward(input)


class WrappedNorm(nn.Module):
    """The same one level down: ``norm1.norm_layer.weight``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_layer = PlainNorm(channels)

    def forward(self, x: Tensor, latents: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Normalise (n, c, h, w)."""
        normal: Tensor = self.norm_layer(x)
        return normal


class ModulatedNorm(WrappedNorm):
    """Scaled and shifted at each place by 1x1 convolutions of the latents found there."""

    def __init__(self, channels: int, latent_channels: int) -> None:
        super().__init__(channels)
        self.conv_y = nn.Conv2d(latent_channels, channels, 1)
        self.conv_b = nn.Conv2d(latent_channels, channels, 1)

    def forward(self, x: Tensor, latents: Tensor | None = None) -> Tensor:
        """Normalise (n, c, h, w) by (n, z, any, any) latents."""
        assert latents is not None
        near = functional.interpolate(latents, size=x.shape[-2:], mode="nearest")
        modulated: Tensor = self.norm_layer(x) * self.conv_y(near) + self.conv_b(near)
        return modulated


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is a 1x1 convolution where the width changes."""

    def __init__(self, width: int, out_width: int, norm: NormOf) -> None:
        super().__init__()
        self.norm1 = norm(width)
        self.conv1 = nn.Conv2d(width, out_width, 3, padding=1)
        self.norm2 = norm(out_width)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1)
        if width != out_width:
            self.nin_shortcut = nn.Conv2d(width, out_width, 1)

    def forward(self, x: Tensor, latents: Tensor | None) -> Tensor:
        """(n, width, h, w) to (n, out_width, h, w)."""
        inner = self.conv1(functional.silu(self.norm1(x, latents)))
        inner = self.conv2(functional.silu(self.norm2(inner, latents)))
        shortcut = self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x
        total: Tensor = shortcut + inner
        return total


class Attention(nn.Module):
    """One head over all places."""

    def __init__(self, width: int, norm: NormOf) -> None:
        super().__init__()
        self.norm = norm(width)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, latents: Tensor | None) -> Tensor:
        """(n, c, h, w) to the same."""
        normal = self.norm(x, latents)
        q, k, v = (layer(normal).flatten(2).mT for layer in (self.q, self.k, self.v))
        seen = functional.scaled_dot_product_attention(q, k, v).mT.reshape(x.shape)
        total: Tensor = x + self.proj_out(seen)
        return total


class Middle(nn.Module):
    """Block, attention, block at the lowest resolution."""

    def __init__(self, width: int, norm: NormOf) -> None:
        super().__init__()
        self.block_1 = Block(width, width, norm)
        self.attn_1 = Attention(width, norm)
        self.block_2 = Block(width, width, norm)

    def forward(self, x: Tensor, latents: Tensor | None) -> Tensor:
        """(n, c, h, w) to the same."""
        middle: Tensor = self.block_2(self.attn_1(self.block_1(x, latents), latents), latents)
        return middle


class Level(nn.Module):
    """The blocks of one resolution, each followed by an attention on the lowest level only."""

    def __init__(self, widths: Iterable[int], norm: NormOf, *, attends: bool) -> None:
        """``widths`` are those before, between and after the blocks."""
        super().__init__()
        pairs = list(pairwise(widths))
        self.block = nn.ModuleList(Block(width, out_width, norm) for width, out_width in pairs)
        self.attn = nn.ModuleList(Attention(out_width, norm) for _, out_width in pairs if attends)

    def forward(self, x: Tensor, latents: Tensor | None) -> Tensor:
        """(n, first width, h, w) to (n, last width, h, w), then half or twice the size if it resamples."""
        for number, block in enumerate(self.block):
            x = block(x, latents)
            if len(self.attn):
                x = self.attn[number](x, latents)
        return x


class DownLevel(Level):
    """A level of the encoder; all but the lowest halve the size with ``downsample``."""

    def __init__(self, widths: Sequence[int], norm: NormOf, *, lowest: bool) -> None:
        super().__init__(widths, norm, attends=lowest)
        self.downsample = None if lowest else Downsample(widths[-1])

    def forward(self, x: Tensor, latents: Tensor | None) -> Tensor:
        """(n, first width, h, w) to (n, last width, h/2, w/2), or h, w on the lowest."""
        x = super().forward(x, latents)
        return x if self.downsample is None else self.downsample(x)


class UpLevel(Level):
    """A level of the decoder; all but the finest double the size with ``upsample``."""

    def __init__(self, widths: Sequence[int], norm: NormOf, *, lowest: bool, finest: bool) -> None:
        super().__init__(widths, norm, attends=lowest)
        self.upsample = None if finest else Upsample(widths[-1])

    def forward(self, x: Tensor, latents: Tensor | None) -> Tensor:
        """(n, first width, h, w) to (n, last width, 2h, 2w), or h, w on the finest."""
        x = super().forward(x, latents)
        return x if self.upsample is None else self.upsample(x)


class Downsample(nn.Module):
    """A strided convolution whose one row and column of padding lie at the bottom and the right."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, h/2, w/2)."""
        half: Tensor = self.conv(functional.pad(x, (0, 1, 0, 1)))
        return half


class Upsample(nn.Module):
    """Each place twice in both directions, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, 2h, 2w)."""
        double: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return double


class Encoder(nn.Module):
    """Picture (n, 3, h, w) to (n, z, h/8, w/8)."""

    def __init__(self, widths: Sequence[int], *, blocks: int, latent_channels: int, norm: NormOf) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        before = [widths[0], *widths]
        self.down = nn.ModuleList(
            DownLevel([before[level], *[width] * blocks], norm, lowest=level == len(widths) - 1)
            for level, width in enumerate(widths)
        )
        self.mid = Middle(widths[-1], norm)
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], latent_channels, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        """Latents of the picture before ``quant_conv``."""
        x = self.conv_in(picture)
        for level in self.down:
            x = level(x, None)
        x = self.norm_out(self.mid(x, None), None)
        latents: Tensor = self.conv_out(functional.silu(x))
        return latents


class Decoder(nn.Module):
    """Latents (n, z, h/8, w/8) to picture (n, 3, h, w). ``up.0`` is the finest level and runs last."""

    def __init__(self, widths: Sequence[int], *, blocks: int, latent_channels: int) -> None:
        super().__init__()
        norm = partial(ModulatedNorm, latent_channels=latent_channels)
        lowest = len(widths) - 1
        self.conv_in = nn.Conv2d(latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], norm)
        below = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(
            UpLevel([below[level], *[width] * (blocks + 1)], norm, lowest=level == lowest, finest=level == 0)
            for level, width in enumerate(widths)
        )
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """A picture of ``post_quant_conv``'s output and of the latents before it."""
        x = self.mid(self.conv_in(x), latents)
        for level in reversed(self.up):
            x = level(x, latents)
        picture: Tensor = self.conv_out(functional.silu(self.norm_out(x, latents)))
        return picture
