"""The parts that a checkpoint lacks, found beside it or named, and the message when they are not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engines.errors import NotLoadable

OPTION: Final = "--component"
"""The command line's word for naming a part."""


@dataclass(frozen=True)
class Companion:
    """A part that lies in a file or folder of its own.

    ``names`` are looked for in this order; ``fault`` says what a file or folder is instead, or ``None``
    where it is the right one. ``within`` is the role of another part, in whose folder it is looked for first.
    """

    role: str
    what: str
    names: tuple[str, ...]
    fault: Callable[[Path], str | None]
    within: str | None = None


def find(
    main: Path, holds: str, companions: Sequence[Companion], given: Mapping[str, Path]
) -> dict[str, Path]:
    """The companions of ``main`` by role: those given, else those beside it.

    ``holds`` says what ``main`` is. Looked in are its folder, ``weights/`` in it, the folder above, and
    ``weights/`` in that.

    Raises:
        NotLoadable: one message that names every part that is missing or is something else, where it was
            looked for, and how to give it.
    """
    roles = [companion.role for companion in companions]
    unknown = sorted(set(given) - set(roles))
    if unknown:
        takes = f"takes {', '.join(roles)}" if roles else "needs no other part"
        raise NotLoadable(main.name, f"{OPTION} {unknown[0]}: this model has no such part; it {takes}")
    found: dict[str, Path] = {}
    missing: list[Companion] = []
    words: list[str] = []
    for companion in companions:
        also = [found[companion.within]] if companion.within in found else []
        path, why = _find_one(main, companion, given.get(companion.role), also)
        if path is not None:
            found[companion.role] = path
        else:
            missing.append(companion)
            words.append(f"{companion.what} ({why})")
    if missing:
        raise NotLoadable(main.name, _report(main, holds, missing, words))
    return found


def places(main: Path) -> Iterator[Path]:
    """The folders in which companions are looked for."""
    own, above = main.parent, main.parent.parent
    yield from (own, own / "weights", above, above / "weights")


def _find_one(
    main: Path, companion: Companion, given: Path | None, also: Sequence[Path]
) -> tuple[Path | None, str]:
    """Its path, or why it has none."""
    if given is not None:
        if not given.exists():
            return None, f"{given.name}, which was given, is not there"
        fault = companion.fault(given)
        return (given.absolute(), "") if fault is None else (None, f"{given.name}, which was given, {fault}")
    others = []
    for path in _candidates(main, companion.names, also):
        fault = companion.fault(path)
        if fault is None:
            return path.absolute(), ""
        others.append(f"{path.name} {fault}")
    return None, "; ".join(others) or _alternatives(companion.names)


def _candidates(main: Path, names: Iterable[str], also: Sequence[Path]) -> Iterator[Path]:
    seen = set()
    for name in names:
        for folder in (*also, *places(main)):
            path = folder / name
            if path not in seen and path != main and path.exists():
                seen.add(path)
                yield path


def _report(main: Path, holds: str, missing: Sequence[Companion], words: Sequence[str]) -> str:
    options = " ".join(f"{OPTION} {companion.role}=PATH" for companion in missing)
    return (
        f"{main.name} holds {holds}, and these parts of the model are missing: {'; '.join(words)}. They were "
        f"looked for beside it, in weights/ there, in the folder above ({main.parent.parent.name or '/'}) "
        f"and in weights/ there. Put them there, or name them: {options}"
    )


def _alternatives(names: Sequence[str]) -> str:
    return " or ".join(names)
