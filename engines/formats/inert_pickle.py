"""A machine for pickle programs on which nothing can happen.

It knows the opcodes of protocols 0 to 5 and the five calls by which PyTorch describes a tensor. Any
other call, class or state yields `OPAQUE`. Only strings are kept as dict keys, so that no value is
ever hashed or compared.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from engines.formats.opcodes import NAMES, READERS
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


_Step = Callable[["InertMachine", bytes, int], int]
"""Executes an opcode whose argument stands at a place; gives the place behind it."""


class _Mark:
    """The bottom of a group on the stack."""


_MARK: Final = _Mark()
_STOP: Final = ord(".")
_LONG: Final = struct.Struct("<I").unpack_from
_MOST_OPCODES: Final = 4_000_000
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

    def run(self, program: bytes, place: int = 0) -> int:
        """Execute the program that begins at ``place``; gives the place behind it.

        Raises:
            ValueError, EOFError, IndexError, KeyError, TypeError, struct.error: it is malformed, or
                absurdly long.
        """
        steps = _STEPS
        for _ in range(_MOST_OPCODES):
            code = program[place]
            place = steps[code](self, program, place + 1)
            if code == _STOP:
                return place
        raise ValueError("the program is absurdly long")

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
    if not (_are_lengths(shape) and _are_lengths(stride) and _is_length(offset)):
        return OPAQUE
    if len(shape) != len(stride):
        return OPAQUE
    stated = [value.name for value in arguments[4:] if isinstance(value, _Global)]
    dtype = stated[0] if stated and stated[0] in WIDTHS else storage.dtype
    return Tensor(dtype, shape, Place(storage.key, offset, stride))


def _are_lengths(values: object) -> bool:
    return isinstance(values, tuple) and len(values) <= _MOST_DIMENSIONS and all(map(_is_length, values))


def _is_length(value: object) -> bool:
    return type(value) is int and 0 <= value < _LONGEST


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


# A checkpoint has some thirty thousand opcodes, nearly all of these few kinds, and a folder of two hundred
# checkpoints is to be listed in a moment: they are read and executed in one.


def _put_short(machine: InertMachine, program: bytes, place: int) -> int:
    machine._memo[program[place]] = machine._stack[-1]
    return place + 1


def _put_long(machine: InertMachine, program: bytes, place: int) -> int:
    machine._memo[_LONG(program, place)[0]] = machine._stack[-1]
    return place + 4


def _get_short(machine: InertMachine, program: bytes, place: int) -> int:
    machine._stack.append(machine._memo[program[place]])
    return place + 1


def _get_long(machine: InertMachine, program: bytes, place: int) -> int:
    machine._stack.append(machine._memo[_LONG(program, place)[0]])
    return place + 4


def _number(form: str) -> _Step:
    kind = struct.Struct(form)
    unpack, width = kind.unpack_from, kind.size

    def step(machine: InertMachine, program: bytes, place: int) -> int:
        machine._stack.append(unpack(program, place)[0])
        return place + width

    return step


def _text(width: int) -> _Step:
    def step(machine: InertMachine, program: bytes, place: int) -> int:
        start = place + width
        end = start + int.from_bytes(program[place:start], "little")
        if end > len(program):
            raise EOFError("the program ends within a text")
        machine._stack.append(str(program[start:end], "utf-8", "surrogatepass"))
        return end

    return step


_FREQUENT: Final[Mapping[str, _Step]] = MappingProxyType(
    {
        "BINPUT": _put_short,
        "LONG_BINPUT": _put_long,
        "BINGET": _get_short,
        "LONG_BINGET": _get_long,
        "BININT": _number("<i"),
        "BININT1": _number("<B"),
        "BININT2": _number("<H"),
        "BINUNICODE": _text(4),
        "SHORT_BINUNICODE": _text(1),
    }
)


def _step(code: int, name: str) -> _Step:
    """What an opcode does to a machine; gives the place of the next."""
    if name in _FREQUENT:
        return _FREQUENT[name]
    read = READERS[code]
    if read is None:
        act = _without_argument(name)

        def plain(machine: InertMachine, _: bytes, place: int) -> int:
            act(machine)
            return place

        return plain
    use = _with_argument(name)

    def step(machine: InertMachine, program: bytes, place: int) -> int:
        argument, place = read(program, place)
        use(machine, argument)
        return place

    return step


def _without_argument(name: str) -> Callable[[InertMachine], None]:
    if name in _CONSTANTS:
        constant = _CONSTANTS[name]
        return lambda machine: machine._stack.append(constant)
    return _PLAIN.get(name, lambda _: None)


def _with_argument(name: str) -> Callable[[InertMachine, Any], None]:
    if name in _LITERALS:
        return lambda machine, argument: machine._stack.append(argument)
    if name in _WITH_ARGUMENT:
        return _WITH_ARGUMENT[name]
    act = _without_argument(name)
    return lambda machine, _: act(machine)


_STEPS: Final = MappingProxyType({code: _step(code, name) for code, name in NAMES.items()})
