"""Training samples of the denoiser: latents of painted pictures with captions, made as training runs.

Painting and encoding a picture costs little beside learning from it, so no data set lies on disk: a store in
memory grows by a few new pictures with every step, and a picture gets another caption each time it is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import T5Tokenizer

from engines.demo.autoencoder import as_tensor
from engines.demo.captions import describe
from engines.demo.networks import SIZE, Network
from engines.demo.painting import paint
from engines.demo.scenes import Scene, sample_scene
from engines.demo.vocabulary import GENERAL_WORDS

FIRST = 400
FRESH = 4
CAPACITY = 12_000
EMPTY_PROMPT_SHARE = 0.04
FOREIGN_SHARE = 0.08


@dataclass(frozen=True, slots=True)
class Sample:
    """Latents (4, 16, 16) of one picture and the tokens of one caption."""

    latents: Tensor
    tokens: list[int]


def vary(text: str, rng: np.random.Generator) -> str:
    """Returns a caption as people type it: at times with foreign words, with capitals, with a full stop."""
    words = text.split(" ")
    if rng.random() < FOREIGN_SHARE:
        for _ in range(int(rng.integers(1, 3))):
            stranger = GENERAL_WORDS[int(rng.integers(len(GENERAL_WORDS)))]
            words.insert(int(rng.integers(len(words) + 1)), stranger)
    text = " ".join(words)
    style = rng.random()
    text = text[:1].upper() + text[1:] if style < 0.22 else text.title() if style < 0.27 else text
    return text + "." if rng.random() < 0.15 else text


def collate(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Returns token ids and mask (count, longest + 1); the pipeline too leaves one place of padding."""
    width = max(len(sample.tokens) for sample in samples) + 1
    tokens = torch.zeros(len(samples), width, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, sample in enumerate(samples):
        tokens[row, : len(sample.tokens)] = torch.tensor(sample.tokens)
        mask[row, : len(sample.tokens)] = 1
    return tokens, mask


class SampleStream:
    """Gives batches out of a growing store of painted and encoded pictures."""

    def __init__(self, movq: Network, tokenizer: T5Tokenizer, rng: np.random.Generator) -> None:
        self._movq = movq.eval().requires_grad_(False)
        self._device = next(movq.parameters()).device
        self._tokenizer, self._rng = tokenizer, rng
        self._scenes: list[Scene] = []
        self._latents: list[Tensor] = []
        self._oldest = 0
        while len(self) < FIRST:
            self._grow(8)

    def __len__(self) -> int:
        return len(self._scenes)

    @torch.no_grad()
    def _grow(self, count: int) -> None:
        scenes = [sample_scene(self._rng) for _ in range(count)]
        pictures = as_tensor(np.stack([paint(scene, self._rng, size=SIZE) for scene in scenes]))
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            latents = self._movq.encode(pictures.to(self._device)).latents.to("cpu", torch.float16)
        for scene, latent in zip(scenes, latents, strict=True):
            if len(self) < CAPACITY:
                self._scenes.append(scene)
                self._latents.append(latent.clone())
            else:
                self._scenes[self._oldest], self._latents[self._oldest] = scene, latent.clone()
                self._oldest = (self._oldest + 1) % CAPACITY

    def _tokens(self, scene: Scene) -> list[int]:
        text = "" if self._rng.random() < EMPTY_PROMPT_SHARE else vary(describe(scene, self._rng), self._rng)
        tokens: list[int] = self._tokenizer(text)["input_ids"]
        return tokens

    def batch(self, count: int) -> list[Sample]:
        """Returns ``count`` samples and lets the store grow.

        Most batches hold captions of about one length: the pipeline pools the text over its padding, and
        a single prompt, which has almost none, should meet what the training met.
        """
        self._grow(FRESH)
        bucketed = self._rng.random() < 0.7
        picks = self._rng.integers(len(self), size=count * 4 if bucketed else count)
        drawn = [Sample(self._latents[at], self._tokens(self._scenes[at])) for at in picks]
        if not bucketed:
            return drawn
        ranked = sorted(drawn, key=lambda sample: len(sample.tokens) + self._rng.random())
        start = int(self._rng.integers(len(ranked) - count + 1))
        return ranked[start : start + count]
