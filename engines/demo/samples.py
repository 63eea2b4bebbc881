"""Training samples of the denoiser: latents of painted pictures with captions, made as training runs.

Painting and encoding a picture costs little beside learning from it, so no data set lies on disk: a store in
memory grows by a few new pictures with every step, and a picture gets another caption each time it is drawn.

Half of a batch are twins: two pictures alike but for the colour of a house or a boat, the phase of the moon
or the presence of a cactus, with captions that differ in that word.
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
from engines.demo.scenes import Scene, sample_scene, sample_twins
from engines.demo.vocabulary import GENERAL_WORDS, LETTERS

FIRST = 200
FRESH = 2
CAPACITY = 6_000
"""Entries of a store at the beginning, added with each step, and at most."""
CHOICE = 3
"""Entries drawn for each place in a batch, so that some of them have about the same length."""
EMPTY_PROMPT_SHARE = 0.04
FOREIGN_SHARE = 0.2
BARE_SHARE = 0.15
ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True, slots=True)
class Sample:
    """Latents (4, 16, 16) of one picture and the tokens of one caption."""

    latents: Tensor
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One scene or twin scenes, with the latents of each (scenes, 4, 16, 16)."""

    scenes: tuple[Scene, ...]
    latents: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples on their own and twins; the n-th of ``first`` and of ``second`` are each other's twin."""

    single: list[Sample]
    first: list[Sample]
    second: list[Sample]


def _stranger(rng: np.random.Generator) -> str:
    if rng.random() < 0.5:
        return GENERAL_WORDS[int(rng.integers(len(GENERAL_WORDS)))]
    return "".join(LETTERS[int(at)] for at in rng.integers(len(LETTERS), size=int(rng.integers(3, 8))))


def vary(text: str, rng: np.random.Generator) -> str:
    """Returns a caption as people type it: at times with foreign words, without articles, with capitals."""
    words = text.split(" ")
    if rng.random() < BARE_SHARE:
        words = [word for word in words if word not in ARTICLES]
    if rng.random() < FOREIGN_SHARE:
        for _ in range(int(rng.integers(1, 3))):
            words.insert(int(rng.integers(len(words) + 1)), _stranger(rng))
    text = " ".join(words)
    style = rng.random()
    text = text[:1].upper() + text[1:] if style < 0.22 else text.title() if style < 0.27 else text
    return text + "." if rng.random() < 0.15 else text


def pad(rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Returns token ids and mask (count, longest + 1); the pipeline too leaves one place of padding."""
    width = max(len(row) for row in rows) + 1
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for at, row in enumerate(rows):
        tokens[at, : len(row)] = torch.tensor(row)
        mask[at, : len(row)] = 1
    return tokens, mask


class Store:
    """Entries in memory; once it is full, a new one takes the place of the oldest."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._oldest = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Keeps an entry."""
        if len(self) < CAPACITY:
            self._entries.append(entry)
        else:
            self._entries[self._oldest] = entry
            self._oldest = (self._oldest + 1) % CAPACITY

    def pick(self, rng: np.random.Generator, count: int) -> list[Entry]:
        """Returns entries at random."""
        return [self._entries[at] for at in rng.integers(len(self), size=count)]


def twin_captions(scenes: Sequence[Scene], rng: np.random.Generator) -> list[str]:
    """Returns captions of twin scenes, worded alike as far as the scenes are."""
    while True:
        seed = int(rng.integers(2**62))
        generators = [np.random.default_rng(seed) for _ in scenes]
        texts = [vary(describe(scene, own), own) for scene, own in zip(scenes, generators, strict=True)]
        if len(set(texts)) == len(texts):  # equal ones leave the difference unsaid
            return texts


class SampleStream:
    """Gives batches out of two growing stores of painted and encoded pictures: single ones and twins."""

    def __init__(self, movq: Network, tokenizer: T5Tokenizer, rng: np.random.Generator) -> None:
        self._movq = movq.eval().requires_grad_(False)
        self._device = next(movq.parameters()).device
        self._tokenizer, self._rng = tokenizer, rng
        self._single, self._twins = Store(), Store()
        while len(self._single) < FIRST:
            self._grow(4)

    @torch.no_grad()
    def _grow(self, count: int) -> None:
        """Adds ``count`` single pictures and half as many twins."""
        single: list[tuple[Scene, ...]] = [(sample_scene(self._rng),) for _ in range(count)]
        groups = single + [sample_twins(self._rng) for _ in range(count // 2)]
        painted = []
        for group in groups:
            seed = int(self._rng.integers(2**62))
            painted += [paint(scene, np.random.default_rng(seed), size=SIZE) for scene in group]
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            pictures = as_tensor(np.stack(painted)).to(self._device)
            latents = self._movq.encode(pictures).latents.to("cpu", torch.float16)
        for group, part in zip(groups, latents.split([len(group) for group in groups]), strict=True):
            (self._single if len(group) == 1 else self._twins).add(Entry(group, part.clone()))

    def _ids(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer(text)["input_ids"]
        return tokens

    def _singles(self, count: int) -> list[Sample]:
        drawn = []
        for entry in self._single.pick(self._rng, count):
            text = vary(describe(entry.scenes[0], self._rng), self._rng)
            empty = self._rng.random() < EMPTY_PROMPT_SHARE
            drawn.append(Sample(entry.latents[0], self._ids("" if empty else text)))
        return drawn

    def _pairs(self, count: int) -> list[tuple[Sample, Sample]]:
        drawn = []
        for entry in self._twins.pick(self._rng, count):
            rows = [self._ids(text) for text in twin_captions(entry.scenes, self._rng)]
            first, second = (Sample(*both) for both in zip(entry.latents, rows, strict=True))
            drawn.append((first, second))
        return drawn

    def batch(self, singles: int, pairs: int) -> Batch:
        """Returns single samples and pairs of twins and lets the stores grow.

        Most batches hold captions of about one length: the pipeline pools the text over its padding, and
        a single prompt, which has almost none, should meet what the training met.
        """
        self._grow(FRESH)
        choice = CHOICE if self._rng.random() < 0.7 else 1
        ranked = sorted(self._singles(singles * choice), key=lambda one: len(one.tokens) + self._rng.random())
        start = int(self._rng.integers(len(ranked) - singles + 1))
        single = ranked[start : start + singles]
        middle = len(single[len(single) // 2].tokens)
        near = sorted(self._pairs(pairs * choice), key=lambda pair: abs(len(pair[0].tokens) - middle))[:pairs]
        return Batch(single, [first for first, _ in near], [second for _, second in near])
