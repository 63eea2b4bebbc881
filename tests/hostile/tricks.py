"""Pieces of pickle programs that would call ``os.system``, or would not end, each by another trick."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Final

import torch

from tests.hostile.canary import MARK, Canary
from tests.hostile.programs import call, group, mapping, named, number, numbers, storage, tensor, text

_SYSTEM: Final = named("posix", "system")
_KEEP: Final = b"q\xf0"
"""Puts the value at the top of the stack into the memo, where `_KEPT` takes it from."""
_KEPT: Final = b"h\xf0"
_DROP: Final = b"0"
_STACK_GLOBAL: Final = b"\x93"


def _touch(canary: Canary) -> bytes:
    return text(f"touch {canary.folder}/{MARK}_trick")


def _called(function: bytes, canary: Canary) -> bytes:
    return function + group(_touch(canary)) + b"R"


def _within(canary: Canary) -> bytes:
    """A pickle as bytes within a pickle."""
    file = io.BytesIO()
    torch.save(canary.payload("exec"), file)
    return b"B" + len(file.getvalue()).to_bytes(4, "little") + file.getvalue()


def _lists() -> bytes:
    """Sixty lists, each of which holds the one before it twice: as text the last has 2**60 letters."""
    made = b"]q\x00" + _DROP
    for place in range(60):
        made += b"](" + bytes((0x68, place)) * 2 + b"e" + bytes((0x71, place + 1)) + _DROP
    return made + b"h\x3c"


def _long_shapes() -> bytes:
    """Many tensors with one shape of many dimensions: to look at each of them takes hours."""
    arguments = group(storage(), number(0), numbers(*[0] * 10_000), numbers(*[0] * 10_000))
    function = named("torch._utils", "_rebuild_tensor_v2")
    kept = function + _KEEP + _DROP + arguments + b"q\xf1" + _DROP
    return kept + (_KEPT + b"h\xf1R" + _DROP) * 5_000 + b"N"


TRICKS: Final[Mapping[str, Callable[[Canary], bytes]]] = {
    "inst": lambda canary: b"(" + _touch(canary) + b"iposix\nsystem\n",
    "obj": lambda canary: b"(" + _SYSTEM + _touch(canary) + b"o",
    "newobj": lambda canary: _SYSTEM + group(_touch(canary)) + b"\x81",
    "newobj-ex": lambda canary: _SYSTEM + group(_touch(canary)) + b"}\x92",
    "ext1": lambda canary: _called(b"\x82\x01", canary),
    "ext4": lambda canary: _called(b"\x84\xff\xff\xff\x7f", canary),
    "stack-global": lambda canary: _called(text("posix") + text("system") + _STACK_GLOBAL, canary),
    "dotted": lambda canary: _called(text("os") + text("path.os.system") + _STACK_GLOBAL, canary),
    "dotted-torch": lambda canary: _called(
        text("torch") + text("serialization.os.system") + _STACK_GLOBAL, canary
    ),
    "under-a-known-name": lambda canary: _called(
        named("torch._utils._rebuild_tensor_v2", "__globals__"), canary
    ),
    "memo": lambda canary: _SYSTEM + _KEEP + _DROP + text("innocent") + _DROP + _called(_KEPT, canary),
    "memo-changed": lambda canary: (
        named("collections", "OrderedDict") + _KEEP + _DROP + _SYSTEM + _KEEP + _DROP + _called(_KEPT, canary)
    ),
    "getattr": lambda canary: call(
        call(named("builtins", "getattr"), call(named("builtins", "__import__"), text("os")), text("system")),
        _touch(canary),
    ),
    "build": lambda _: (
        call(named("collections", "OrderedDict")) + mapping(items=_SYSTEM, __class__=_SYSTEM) + b"b"
    ),
    "build-setstate": lambda canary: (
        named("argparse", "Namespace")
        + b")\x81"
        + mapping(__setstate__=_SYSTEM)
        + b"b"
        + _touch(canary)
        + b"b"
    ),
    "build-global": lambda canary: _SYSTEM + mapping(__call__=_touch(canary)) + b"b",
    "within": lambda canary: call(named("torch.storage", "_load_from_bytes"), _within(canary)),
    "partial": lambda canary: call(call(named("functools", "partial"), _SYSTEM, _touch(canary))),
    "map": lambda canary: call(
        named("builtins", "list"), call(named("builtins", "map"), _SYSTEM, b"](" + _touch(canary) + b"e")
    ),
    "persistent-text": lambda canary: b"Pposix.system\n" + group(_touch(canary)) + b"R",
    "persistent-call": lambda canary: _called(storage(kind=_SYSTEM), canary),
    "persistent-word": lambda _: text("storage") + b"Q",
    "persistent-dict": lambda _: mapping(storage=_SYSTEM) + b"Q",
    "persistent-short": lambda _: group(text("storage"), named("torch", "HalfStorage")) + b"Q",
    "persistent-nested": lambda _: storage(key=storage()),
    "persistent-lists": lambda _: storage(key=_lists()),
    "parameter-state": lambda _: call(
        named("torch._utils", "_rebuild_parameter_with_state"),
        tensor(),
        b"\x89",
        b"}",
        mapping(detach=_SYSTEM, __class__=_SYSTEM),
    ),
    "parameter": lambda _: call(named("torch._utils", "_rebuild_parameter"), _SYSTEM, b"\x89", b"}"),
    "global-of-lists": lambda _: _lists() + text("x") + _STACK_GLOBAL,
    "global-of-itself": lambda _: b"]" + _KEEP + _KEPT + b"a" + text("x") + _STACK_GLOBAL,
    "memory": lambda _: call(named("builtins", "bytearray"), number(2**36)),
    "long-shapes": lambda _: _long_shapes(),
}
"""By name; each piece leaves one value on the stack."""
