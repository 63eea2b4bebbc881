"""Tokenizers made in memory: one token for each character, so that every word is spelt."""

from __future__ import annotations

from typing import Final

from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer, XLMRobertaTokenizer

_CHARACTERS: Final = [chr(code) for code in (*range(33, 127), *range(0x410, 0x450))]
_PIECES: Final = [("▁", -2.0), *((char, -3.0 - rank * 0.01) for rank, char in enumerate(_CHARACTERS))]

QWEN_SPECIALS: Final = tuple(
    f"<|{name}|>"
    for name in (
        "endoftext",
        "im_start",
        "im_end",
        "object_ref_start",
        "object_ref_end",
        "box_start",
        "box_end",
        "quad_start",
        "quad_end",
        "vision_start",
        "vision_end",
        "vision_pad",
        "image_pad",
        "video_pad",
    )
)


def clip() -> CLIPTokenizer:
    """514 tokens; the end token has the highest id, by which CLIP's pooling finds it."""
    letters = _byte_letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab=_numbered(tokens), merges=[], model_max_length=77)


def t5() -> T5Tokenizer:
    """Latin and Cyrillic letters, and T5's hundred extra ids."""
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_PIECES]
    return T5Tokenizer(vocab=vocab, model_max_length=512)


def xlm_roberta() -> XLMRobertaTokenizer:
    """Latin and Cyrillic letters."""
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_PIECES, ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=vocab, model_max_length=512)


def qwen() -> Qwen2Tokenizer:
    """All bytes, and the specials of Qwen2-VL."""
    tokenizer = Qwen2Tokenizer(
        vocab=_numbered([*_byte_letters(), *QWEN_SPECIALS]), merges=[], model_max_length=4096
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(QWEN_SPECIALS[1:])})
    return tokenizer


def _numbered(tokens: list[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(tokens)}


def _byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each of the 256 bytes."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in printable]
    stand_in = {byte: 256 + rank for rank, byte in enumerate(hidden)}
    return [chr(stand_in.get(byte, byte)) for byte in range(256)]
