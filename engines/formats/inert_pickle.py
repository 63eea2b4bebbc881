"""A machine for pickle programs on which nothing can happen.

It knows the opcodes of protocols 0 to 5 and the five calls by which PyTorch describes a tensor. Any
other call, class or state yields `OPAQUE`. Only strings are kept as dict keys, so that no value is
ever hashed or compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from engines.formats.tensor import WIDTHS, Place, Tensor


class Opaque(Enum):
    """The type of `OPAQUE`."""

    TOKEN = "opaque"


OPAQUE: Final = Opaque.TOKEN
"""A value that only running the program could make."""


@dataclass(frozen=True, slots=True)
class _Global:
    """A name that the program would import."""

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    """A tensor's bytes, of which only the element type and the name are known."""

    dtype: str
    key: str


class _Mark:
    """The bottom of a group on the stack."""


_MARK: Final = _Mark()
_LONGEST: Final = 2**40
"""A tensor's edge beyond this is no tensor's."""
_MOST_DIMENSIONS: Final = 64
"""Torch's own limit. A program can name one long tuple as the shape of a million tensors."""

_STORAGES: Final = MappingProxyType(
    {
        "DoubleStorage": "float64",
        "FloatStorage": "float32",
        "HalfStorage": "float16",
        "BFloat16Storage": "bfloat16",
        "LongStorage": "int64",
        "IntStorage": "int32",
        "ShortStorage": "int16",
        "CharStorage": "int8",
        "ByteStorage": "uint8",
        "BoolStorage": "bool",
        "ComplexFloatStorage": "complex64",
        "ComplexDoubleStorage": "complex128",
        "UntypedStorage": "uint8",
    }
)


class InertMachine:
    """Runs one program; `result` is its value after the STOP opcode.

    ``foreign`` tells whether it would have called anything but what describes tensors; ``storages`` are the
    names of those that it has spoken of.
    """

    def __init__(self) -> None:
        self.result: object = OPAQUE
        self.foreign = False
        self.storages: set[str] = set()
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Execute one opcode.

        Raises:
            ValueError, IndexError, KeyError, TypeError: the program is malformed.
        """
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self._stack.append(argument)
        elif name in _PLAIN:
            _PLAIN[name](self)
        elif name not in _NO_EFFECT:
            _WITH_ARGUMENT[name](self, argument)

    def _group(self) -> list[Any]:
        """Take what lies above the topmost mark, and the mark."""
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                group = self._stack[index + 1 :]
                del self._stack[index:]
                return group
        raise ValueError("no mark on the stack")

    def _mark(self) -> None:
        self._stack.append(_MARK)

    def _empty_list(self) -> None:
        self._stack.append([])

    def _empty_dict(self) -> None:
        self._stack.append({})

    def _tuple(self) -> None:
        self._stack.append(tuple(self._group()))

    def _tuple_of(self, count: int) -> None:
        group = tuple(self._stack[-count:])
        if len(group) < count:
            raise ValueError("stack underflow")
        del self._stack[-count:]
        self._stack.append(group)

    def _list(self) -> None:
        self._stack.append(self._group())

    def _dict(self) -> None:
        items = self._group()
        self._stack.append({})
        self._set(items)

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            target.update((key, value) for key, value in pairs if isinstance(key, str))

    def _set_one(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def _set_many(self) -> None:
        self._set(self._group())

    def _append_one(self) -> None:
        value = self._stack.pop()
        if isinstance(self._stack[-1], list):
            self._stack[-1].append(value)

    def _append_many(self) -> None:
        items = self._group()
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(items)

    def _drop_group(self) -> None:
        self._group()

    def _opaque_group(self) -> None:
        self._group()
        self._stack.append(OPAQUE)

    def _pop(self) -> None:
        self._stack.pop()

    def _duplicate(self) -> None:
        self._stack.append(self._stack[-1])

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(_Global(module, name))

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        # Anything else than words is not looked at: lists that hold each other have no end as text.
        named = isinstance(module, str) and isinstance(name, str)
        self._stack.append(_Global(module, name) if named else OPAQUE)

    def _storage(self) -> None:
        """The persistent id of a storage: ("storage", class, key, device, count)."""
        reference = self._stack.pop()
        whole = isinstance(reference, tuple) and len(reference) in (5, 6) and reference[0] == "storage"
        kind, key = reference[1:3] if whole else (None, None)
        dtype = _STORAGES.get(kind.name) if isinstance(kind, _Global) else None
        if dtype and isinstance(key, str):
            self.storages.add(key)
            self._stack.append(_Storage(dtype, key))
        else:
            self._stack.append(OPAQUE)

    def _call(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        describe = _CALLS.get((function.module, function.name)) if isinstance(function, _Global) else None
        known = describe is not None and isinstance(arguments, tuple)
        self.foreign |= not known
        self._stack.append(describe(arguments) if describe and known else OPAQUE)

    def _call_with_keywords(self) -> None:
        del self._stack[-3:]
        self._stack.append(OPAQUE)

    def _stop(self) -> None:
        self.result = self._stack.pop()


def _tensor(arguments: tuple[Any, ...]) -> object:
    """``_rebuild_tensor*(storage, offset, shape, stride, ...)``; version 3 adds the type at the end."""
    if len(arguments) < 4 or not isinstance(arguments[0], _Storage):
        return OPAQUE
    storage, offset, shape, stride = arguments[:4]
    if any(isinstance(value, dict) and value for value in arguments[6:]):
        # Marks of a conjugate or a negative: its values are not those that lie there.
        return OPAQUE
    if not (_are_lengths(shape) and _are_lengths(stride) and _are_lengths((offset,))):
        return OPAQUE
    if len(shape) != len(stride):
        return OPAQUE
    stated = next((value.name for value in arguments[4:] if isinstance(value, _Global)), None)
    dtype = stated if stated and stated in WIDTHS else storage.dtype
    return Tensor(dtype, shape, Place(storage.key, offset, stride))


def _are_lengths(values: object) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) <= _MOST_DIMENSIONS
        and all(type(edge) is int and 0 <= edge < _LONGEST for edge in values)
    )


def _first(arguments: tuple[Any, ...]) -> object:
    return arguments[0] if arguments else OPAQUE


_CALLS: Final[Mapping[tuple[str, str], Callable[[tuple[Any, ...]], object]]] = MappingProxyType(
    {
        ("collections", "OrderedDict"): lambda _: {},
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_tensor_v3"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _first,
    }
)

_CONSTANTS: Final[Mapping[str, object]] = MappingProxyType(
    {
        "NONE": None,
        "NEWTRUE": True,
        "NEWFALSE": False,
        "EMPTY_TUPLE": (),
        "EMPTY_SET": OPAQUE,
        "NEXT_BUFFER": OPAQUE,
        "EXT1": OPAQUE,
        "EXT2": OPAQUE,
        "EXT4": OPAQUE,
        "PERSID": OPAQUE,
    }
)
_LITERALS: Final = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
        "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
        "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    }
)  # fmt: skip

_NO_EFFECT: Final = frozenset({"PROTO", "FRAME", "READONLY_BUFFER"})

_PLAIN: Final[Mapping[str, Callable[[InertMachine], None]]] = MappingProxyType(
    {
        "MARK": InertMachine._mark,
        "EMPTY_LIST": InertMachine._empty_list,
        "EMPTY_DICT": InertMachine._empty_dict,
        "TUPLE": InertMachine._tuple,
        "TUPLE1": lambda machine: machine._tuple_of(1),
        "TUPLE2": lambda machine: machine._tuple_of(2),
        "TUPLE3": lambda machine: machine._tuple_of(3),
        "LIST": InertMachine._list,
        "DICT": InertMachine._dict,
        "SETITEM": InertMachine._set_one,
        "SETITEMS": InertMachine._set_many,
        "APPEND": InertMachine._append_one,
        "APPENDS": InertMachine._append_many,
        "ADDITEMS": InertMachine._drop_group,
        "FROZENSET": InertMachine._opaque_group,
        "INST": InertMachine._opaque_group,
        "OBJ": InertMachine._opaque_group,
        "POP": InertMachine._pop,
        "POP_MARK": InertMachine._drop_group,
        "DUP": InertMachine._duplicate,
        "MEMOIZE": InertMachine._memoize,
        "STACK_GLOBAL": InertMachine._stack_global,
        "BINPERSID": InertMachine._storage,
        "REDUCE": InertMachine._call,
        "NEWOBJ": InertMachine._call,
        "NEWOBJ_EX": InertMachine._call_with_keywords,
        # BUILD gives an object its state: the object stays what it is.
        "BUILD": InertMachine._pop,
        "STOP": InertMachine._stop,
    }
)

_WITH_ARGUMENT: Final[Mapping[str, Callable[[InertMachine, Any], None]]] = MappingProxyType(
    {
        "PUT": InertMachine._put,
        "BINPUT": InertMachine._put,
        "LONG_BINPUT": InertMachine._put,
        "GET": InertMachine._get,
        "BINGET": InertMachine._get,
        "LONG_BINGET": InertMachine._get,
        "GLOBAL": InertMachine._global,
    }
)
