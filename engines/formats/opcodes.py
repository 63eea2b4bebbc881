"""The opcodes of pickle programs: their names, and what reads the arguments that stand behind them.

The frequent ones are read by `engines.formats.inert_pickle` itself.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

Reader = Callable[[bytes, int], tuple[Any, int]]
"""Takes a program and the place behind an opcode; gives its argument and the place of the next."""

NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
)
"""The names that `pickletools` gives, by code."""


class _Stream:
    """The rest of a program, for the readers of `pickletools`."""

    def __init__(self, program: bytes, place: int) -> None:
        self._program = program
        self.place = place

    def read(self, count: int) -> bytes:
        piece = self._program[self.place : self.place + max(0, count)]
        self.place += len(piece)
        return piece

    def readline(self) -> bytes:
        end = self._program.find(b"\n", self.place) + 1
        return self.read((end or len(self._program)) - self.place)


def _by_pickletools(argument: Any) -> Reader:
    def read(program: bytes, place: int) -> tuple[Any, int]:
        stream = _Stream(program, place)
        return argument.reader(stream), stream.place

    return read


READERS: Final[Mapping[int, Reader | None]] = MappingProxyType(
    {ord(opcode.code): _by_pickletools(opcode.arg) if opcode.arg else None for opcode in pickletools.opcodes}
)
"""What reads the argument of an opcode, by code; ``None`` where it has none."""
