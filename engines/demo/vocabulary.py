"""Builds the tokenizer: every word of the captions is one piece, other text splits into known pieces."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import T5Tokenizer

from engines.demo.captions import describe
from engines.demo.scenes import sample_scene

_GENERAL_TEXT = """
    people man woman child cat dog horse cow sheep bear wolf fox rabbit fish whale dolphin car train
    plane ship bridge road river waterfall city town village street castle tower church lighthouse
    garden flower flowers roses tulips grass meadow beach island rock rocks cliff volcano canyon cave
    storm lightning thunder wind rainbow aurora northern lights galaxy planet earth space rocket robot
    dragon unicorn knight king queen portrait face eyes hair dress hat smile happy sad old young big
    huge tiny tall long short light black grey gray silver violet turquoise amazing epic fantasy magical
    dream dreamy surreal realistic cinematic dramatic colorful vibrant soft warm cold style concept
    illustration render sketch pencil canvas acrylic impressionist van gogh monet wallpaper background
    hd 4k 8k trending artstation high quality resolution best professional photography camera lens bokeh
    wide angle aerial drone close up looking standing sitting walking running flying floating swimming
    sleeping eating near behind above below between front left right center spring summer january
    december christmas monday afternoon food pizza cake coffee tea apple banana table chair window door
    room kitchen bedroom office computer phone book music guitar piano
"""
GENERAL_WORDS = tuple(_GENERAL_TEXT.split())
"""Words that prompts hold but pictures do not show; mixed into captions, they come to be ignored."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIGNS = LETTERS + LETTERS.upper() + "0123456789.,!?'\"-:;()&/äöüéèñ"
SPACE = "\u2581"
CAPTIONS = 20_000
SUBWORDS = 260


def caption_words(seed: int) -> list[str]:
    """Returns the words of many captions, the most frequent first."""
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    for _ in range(CAPTIONS):
        counts.update(describe(sample_scene(rng), rng).replace(",", " ").split())
    return [word for word, _ in counts.most_common()]


def _subwords(words: list[str], seed: int) -> list[str]:
    """Returns short pieces, learned from the words, into which unknown words split."""
    rng = np.random.default_rng(seed)
    trainer = trainers.UnigramTrainer(
        vocab_size=SUBWORDS, special_tokens=["<unk>"], unk_token="<unk>", max_piece_length=6,
        initial_alphabet=list(LETTERS), show_progress=False,
    )  # fmt: skip
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=True)
    tokenizer.train_from_iterator((" ".join(rng.choice(words, 8)) for _ in range(3000)), trainer)
    return sorted(set(tokenizer.get_vocab()) - {"<unk>"})


def _pieces(words: list[str], seed: int) -> Iterator[tuple[str, float]]:
    """Yields pieces with their log-probability: whole words likely, letters unlikely."""
    yield from (("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0))
    yield from ((SPACE + word, -3.0) for word in words)
    # Case variants are pieces of their own: T5Tokenizer drops a lower-casing normaliser on loading.
    yield from ((SPACE + word[0].upper() + word[1:], -3.2) for word in words)
    yield from ((SPACE + word, -3.5) for word in GENERAL_WORDS)
    yield from ((piece, -7.0 - 0.2 * (6 - len(piece))) for piece in _subwords([*words, *GENERAL_WORDS], seed))
    yield (SPACE, -6.0)
    yield from ((sign, -3.0 if sign in ".," else -12.0) for sign in SIGNS)


def build_tokenizer(seed: int) -> T5Tokenizer:
    """Returns a new tokenizer of about 620 pieces; the same seed gives the same one."""
    pieces: dict[str, float] = {}
    for piece, score in _pieces(caption_words(seed), seed):
        pieces.setdefault(piece, score)
    return T5Tokenizer(
        vocab=list(pieces.items()), extra_ids=0, additional_special_tokens=[], model_max_length=128
    )


def load_tokenizer(folder: Path) -> T5Tokenizer:
    """Returns the tokenizer of a pipeline folder."""
    tokenizer: T5Tokenizer = T5Tokenizer.from_pretrained(folder / "tokenizer")
    return tokenizer
