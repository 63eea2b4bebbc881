"""Kandinsky 2.1's prior, under the parameter names of ``prior_fp16.ckpt``.

Written from the published description (ai-forever/Kandinsky-2 ``model/prior.py``): a causal transformer over
text, timestep and noisy image embedding, the last place of which answers with the image embedding itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.originals.kandinsky21_unet import sinusoids

HEAD_CHANNELS: Final = 64
EXTRA_PLACES: Final = 4
"""After the text: its embedding, the timestep, the noisy image embedding, and the place of the answer."""


@dataclass(frozen=True)
class Size:
    """How large the prior is; by default as released. The width must be a multiple of 64."""

    text_places: int = 77
    width: int = 2048
    layers: int = 20
    clip_width: int = 768
    """Of CLIP's embeddings, and of its text encoder's hidden states."""


class Prior(nn.Module):
    """The release's top: the transformer as ``model``. CLIP's mean and deviation have a file of their own."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.model = PriorTransformer(size)

    def forward(
        self, x: Tensor, timesteps: Tensor, *, text_embedding: Tensor, text: Tensor, mask: Tensor
    ) -> Tensor:
        """As the transformer's."""
        predicted: Tensor = self.model(x, timesteps, text_embedding=text_embedding, text=text, mask=mask)
        return predicted


class PriorTransformer(nn.Module):
    """Predicts an image embedding, normalised by CLIP's mean and deviation, from a noisy one."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width, places = size.width, size.text_places + EXTRA_PLACES
        self.time_embed = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.text_enc_proj = nn.Linear(size.clip_width, width)
        self.text_emb_proj = nn.Linear(size.clip_width, width)
        self.clip_img_proj = nn.Linear(size.clip_width, width)
        self.out_proj = nn.Linear(width, size.clip_width)
        self.transformer = Transformer(width, size.layers)
        self.final_ln = nn.LayerNorm(width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(1, places, width))
        self.prd_emb = nn.Parameter(0.01 * torch.randn(1, 1, width))

    def forward(
        self, x: Tensor, timesteps: Tensor, *, text_embedding: Tensor, text: Tensor, mask: Tensor
    ) -> Tensor:
        """The image embedding (n, clip_width) of a noisy one (n, clip_width) at (n,) timesteps 0..999.

        ``text_embedding`` (n, clip_width) is CLIP's, not normalised; ``text`` (n, text_places, clip_width)
        are the hidden states after its last norm; ``mask`` (n, text_places) is true at tokens.
        """
        time = self.time_embed(sinusoids(timesteps, self.prd_emb.shape[-1]).to(x.dtype))
        places = [
            self.text_enc_proj(text),
            self.text_emb_proj(text_embedding)[:, None],
            time[:, None],
            self.clip_img_proj(x)[:, None],
            self.prd_emb.expand(len(x), -1, -1),
        ]
        sequence = torch.cat(places, dim=1) + self.positional_embedding
        sequence = self.final_ln(self.transformer(sequence, _visible(mask)))
        predicted: Tensor = self.out_proj(sequence[:, -1])
        return predicted


class Transformer(nn.Module):
    """Holds ``resblocks``."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width) for _ in range(layers))

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """(n, places, width) to the same; ``visible`` as the attention's."""
        for block in self.resblocks:
            x = block(x, visible)
        return x


class Block(nn.Module):
    """Attention and a feed-forward part, each with its norm first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = Attention(width)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """(n, places, width) to the same."""
        x = x + self.attn(self.ln_1(x), visible)
        total: Tensor = x + self.mlp(self.ln_2(x))
        return total


class Attention(nn.Module):
    """Rows of ``c_qkv`` go head by head: q, k, v."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_qkv = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """(n, places, width) to the same; a place sees those where ``visible`` (n, 1, to, from) is true."""
        n, places, width = x.shape
        joint = self.c_qkv(x).reshape(n, places, width // HEAD_CHANNELS, 3, HEAD_CHANNELS)
        q, k, v = joint.permute(3, 0, 2, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        attended: Tensor = self.c_proj(seen.transpose(1, 2).flatten(2))
        return attended


class FeedForward(nn.Module):
    """Four times as wide inside, with an exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to the same."""
        fed: Tensor = self.c_proj(functional.gelu(self.c_fc(x)))
        return fed


def _visible(mask: Tensor) -> Tensor:
    """(n, text places) to (n, 1, places, places): itself and what is before, without the text's padding."""
    present = functional.pad(mask.bool(), (0, EXTRA_PLACES), value=True)
    places = present.shape[1]
    before = torch.ones(places, places, dtype=torch.bool, device=mask.device).tril()
    return (present[:, None, :] & before)[:, None]
