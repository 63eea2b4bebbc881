"""Safetensors files whose headers lie."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.hostile import programs
from tests.hostile.case import Ground, Hostile

_NAME: Final = programs.NAMES[0]
_OTHER: Final = programs.NAMES[1]
_BYTES: Final = bytes(48)


def cases() -> Iterator[Hostile]:
    """All of them."""
    for name, (content, detected, opened) in _HEADERS.items():
        yield _file(f"header-{name}", content, detected, opened)
    for name, (entry, detected, opened) in _ENTRIES.items():
        yield _file(f"entry-{name}", partial(_safetensors, {_NAME: entry}), detected, opened)


def _file(name: str, content: Callable[[], bytes], detected: str, opened: str) -> Hostile:
    def write(ground: Ground) -> Path:
        return programs.write(ground.folder, content(), "kandinsky3.safetensors")

    return Hostile(name, write, detected, opened, large=name == "header-spaces")


def _tensor(begin: Any = 24, end: Any = 48, shape: Any = (2, 3), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def _safetensors(changes: Mapping[str, Any]) -> bytes:
    """Two tensors, the last of which lies first."""
    return _raw(json.dumps({_NAME: _tensor(), _OTHER: _tensor(0, 24), **changes}))


def _raw(header: str | bytes, length: int | None = None) -> bytes:
    data = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(data) if length is None else length) + data + _BYTES


def _text(entry: str) -> Callable[[], bytes]:
    """A header with an entry as it is written."""
    return lambda: _raw(f'{{"{_OTHER}": {json.dumps(_tensor(0, 24))}, "{_NAME}": {entry}}}')


def _twice() -> bytes:
    first, second = json.dumps(_tensor(0, 24)), json.dumps(_tensor())
    return _raw(f'{{"{_OTHER}": {first}, "{_NAME}": {second}, "{_NAME}": {first}}}')


_HEADERS: Final[Mapping[str, tuple[Callable[[], bytes], str, str]]] = {
    "length-2-63": (lambda: _raw("{}", 2**63), "neither a safetensors file", "neither a safetensors file"),
    "length-beyond": (
        lambda: _raw("{}", 90_000_000),
        "truncated within its header",
        "truncated within its header",
    ),
    "length-zero": (lambda: _raw("{}", 0), "not valid JSON", "not valid JSON"),
    "deep": (lambda: _raw('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "not valid JSON", "not valid JSON"),
    "deep-objects": (
        lambda: _raw('{"a":' * 100_000 + "1" + "}" * 100_000),
        "not valid JSON",
        "not valid JSON",
    ),
    "spaces": (
        lambda: _raw(b"{" + b" " * 98_000_000 + b"}"),
        "not those of a model known here",
        "is damaged: .*file not fully covered",
    ),
    "millions": (
        lambda: _raw('{"a":[' + "0," * 2_100_000 + "0]}"),
        "it holds millions of values",
        "it holds millions of values",
    ),
    "not-json": (lambda: _raw("{'a': __import__('os').system('id')}"), "not valid JSON", "not valid JSON"),
    "not-utf-8": (lambda: _raw(b'{"\xff\xfe": 1}'), "not valid JSON", "not valid JSON"),
    "twice": (_twice, "parts of the model are missing", "is damaged: .*invalid offset"),
    "metadata-list": (
        lambda: _safetensors({"__metadata__": ["a"]}),
        "damaged at '__metadata__'",
        "damaged at '__metadata__'",
    ),
    "metadata-nested": (
        lambda: _safetensors({"__metadata__": {"a": {"b": "c"}}}),
        "damaged at '__metadata__'",
        "damaged at '__metadata__'",
    ),
    "metadata-number": (
        lambda: _safetensors({"__metadata__": {"a": 1}}),
        "damaged at '__metadata__'",
        "damaged at '__metadata__'",
    ),
    "metadata-surrogate": (
        lambda: _safetensors({"__metadata__": {"a\ud800": "\udfff"}}),
        "parts of the model are missing",
        "is damaged: .*invalid JSON",
    ),
    "name-of-a-page": (
        lambda: _safetensors({"/etc/passwd" * 500: {}}),
        "damaged at '/etc/passwd.{0,100}…'$",
        "damaged at '/etc/passwd.{0,100}…'$",
    ),
    "name-surrogate": (
        lambda: _safetensors({"\ud800": _tensor()}),
        "parts of the model are missing",
        "is damaged: .*invalid JSON",
    ),
}

_ENTRIES: Final[Mapping[str, tuple[Any, str, str]]] = {
    "overlapping": (_tensor(12, 36), "parts of the model are missing", "is damaged: .*invalid offset"),
    "hole": (
        _tensor(20, 44),
        "parts of the model are missing",
        "is damaged: .*invalid offset",
    ),
    "negative-offsets": (_tensor(-24, 0), "its place cannot be", "its place cannot be"),
    "backwards": (_tensor(48, 24), "its place cannot be", "its place cannot be"),
    "huge-offsets": (_tensor(2**62, 2**62 + 24), "is truncated", "is truncated"),
    "beyond-64-bits": (_tensor(2**70, 2**70 + 24), "its place cannot be", "its place cannot be"),
    "negative-shape": (_tensor(shape=(-2, -3)), "its place cannot be", "its place cannot be"),
    "huge-shape": (
        _tensor(shape=(2**62, 2**62, 2**62)),
        "24 bytes for a tensor of",
        "24 bytes for a tensor of",
    ),
    "integers-of-a-page": (_tensor(shape=(10**4000,) * 100), "its place cannot be", "its place cannot be"),
    "dimensions": (_tensor(shape=(1,) * 10_000), "its place cannot be", "its place cannot be"),
    "infinite-shape": (_tensor(shape=(float("inf"), 3)), "its place cannot be", "its place cannot be"),
    "no-number-shape": (_tensor(shape=(float("nan"), 3)), "its place cannot be", "its place cannot be"),
    "words-shape": (_tensor(shape=("2", "3")), "its place cannot be", "its place cannot be"),
    "truth-shape": (_tensor(shape=(True, 6)), "its place cannot be", "its place cannot be"),
    "float-shape": (_tensor(shape=(2.0, 3.0)), "its place cannot be", "its place cannot be"),
    "wrong-size": (_tensor(24, 44), "20 bytes for a tensor of 24", "20 bytes for a tensor of 24"),
    "wrong-type": (_tensor(dtype="F64"), "24 bytes for a tensor of 48", "24 bytes for a tensor of 48"),
    "no-type": (_tensor(dtype="os.system"), "no type is called so", "no type is called so"),
    "type-of-a-page": (_tensor(dtype="F" * 100_000), "no type is called so", "no type is called so"),
    "type-list": (_tensor(dtype=["F32"]), "no type is called so", "no type is called so"),
    "new-type": (_tensor(dtype="F4_X"), "parts of the model are missing", "is damaged: .*unknown variant"),
    "three-offsets": (
        {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 1, 2]},
        "is damaged at",
        "is damaged at",
    ),
    "no-entry": ("os.system", "is damaged at", "is damaged at"),
    "null": (None, "is damaged at", "is damaged at"),
}
