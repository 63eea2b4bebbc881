"""One component of a pipeline on its way from the original weights to diffusers'.

A converter renames, and where it must splits, the tensors of a file that may be larger than memory.
What it gives are views; the only copies are of tensors whose rows lie interleaved in the file, and each
of those lives as long as whoever asked for it keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from pydantic import JsonValue

from engines.errors import NotLoadable

Shape = tuple[int, ...]
Table = tuple[tuple[str, str], ...]
"""Pairs of a regular expression and its replacement, applied to a name one after the other."""

_NAMED: Final = 3
"""So many tensors are named in a message; of the others it gives the number."""


@dataclass(frozen=True)
class ConvertedComponent:
    """One component as diffusers stores it; ``tensors`` are views of the source's wherever they can be.

    ``config`` is what goes to config.json beside the class and diffusers' version. ``tensors`` may make
    its values when they are asked for: take one, write it, let it go.
    """

    class_name: str
    config: dict[str, JsonValue]
    tensors: Mapping[str, torch.Tensor] = field(repr=False)


@dataclass(frozen=True)
class View:
    """Part of a tensor and the shape it is to have: no copy until that shape asks for one."""

    tensor: torch.Tensor = field(repr=False)
    shape: Shape


class Views(Mapping[str, torch.Tensor]):
    """Tensors by name, each brought to its shape when it is asked for.

    Rows that lie apart in the file (``torch.Tensor.reshape`` must copy them) are so copied one tensor
    at a time, and not all at once.
    """

    def __init__(self, views: Mapping[str, View]) -> None:
        self._views = dict(views)

    def __getitem__(self, name: str) -> torch.Tensor:
        view = self._views[name]
        return view.tensor.reshape(view.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes by name, for which nothing is copied."""
        return {name: view.shape for name, view in self._views.items()}


@dataclass(frozen=True)
class Original:
    """The tensors of a file as first released; ``what`` they are, in words, for the messages."""

    tensors: Mapping[str, torch.Tensor] = field(repr=False)
    what: str

    def shape(self, name: str, rank: int) -> Shape:
        """Give the shape of a tensor that must be there and have ``rank`` dimensions.

        Raises:
            NotLoadable: it is missing, or has more or fewer dimensions.
        """
        if name not in self.tensors:
            raise self.unfit(f"the file lacks {name}, a tensor of {self.what}")
        shape = tuple(self.tensors[name].shape)
        if len(shape) != rank:
            raise self.unfit(f"{name} of {self.what} has the shape {shape} and not {rank} dimensions")
        return shape

    def numbers(self, pattern: str) -> set[int]:
        """Collect the numbers that names have where ``pattern`` (from the start) has its group."""
        matches = (re.match(pattern, name) for name in self.tensors)
        return {int(match[1]) for match in matches if match}

    def views(self, converted: Iterable[tuple[str, View]]) -> Views:
        """Gather what the tensors became, under diffusers' names.

        Raises:
            NotLoadable: two tensors became the same one.
        """
        found: dict[str, View] = {}
        for name, view in converted:
            if name in found:
                raise self.unfit(f"the file holds {name} (in diffusers' names) of {self.what} twice")
            found[name] = view
        return Views(found)

    def unfit(self, reason: str) -> NotLoadable:
        """Make the error that says why these tensors cannot be converted."""
        return NotLoadable(self.what, reason)


def rename(name: str, table: Table) -> str:
    """Apply every row of ``table`` to ``name``, in order."""
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    return name


def as_linear(shape: Shape) -> Shape:
    """Give the shape of a 1x1 convolution's weight (out, in, 1 or 1, 1) as a linear layer's (out, in)."""
    return shape[:2] if set(shape[2:]) == {1} else shape


def meta_shapes(component: ConvertedComponent) -> dict[str, Shape]:
    """List the tensors that diffusers' class expects for this configuration, building it without memory.

    Raises:
        NotLoadable: the class refuses the sizes that were found in the file.
    """
    import diffusers

    kind = getattr(diffusers, component.class_name)
    try:
        with torch.device("meta"):
            model = kind.from_config(component.config)
    except (IndexError, TypeError, ValueError) as error:
        raise NotLoadable(
            component.class_name, f"diffusers' {component.class_name} has no such sizes: {error}"
        ) from error
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def check_against(component: ConvertedComponent, shapes: Mapping[str, Shape], what: str) -> None:
    """Make sure that a component has the tensors of ``shapes`` and no others.

    ``what`` is the component in words, article included. The names are diffusers'.

    Raises:
        NotLoadable: naming the first tensors that are missing, too many, or of another shape.
    """
    tensors = component.tensors
    found = (
        tensors.shapes
        if isinstance(tensors, Views)
        else {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    )
    lacking = [name for name in shapes if name not in found]
    surplus = [name for name in found if name not in shapes]
    unlike = [
        f"{name} is {found[name]} instead of {shape}"
        for name, shape in shapes.items()
        if name in found and found[name] != shape
    ]
    faults = [
        f"{verb} {_counted(names)} {_listed(names)}"
        for verb, names in (
            ("it lacks", lacking),
            ("it has no place for", surplus),
            ("it differs in the shape of", unlike),
        )
        if names
    ]
    if faults:
        raise NotLoadable(what, f"the file does not hold {what} (in diffusers' names): {'; '.join(faults)}")


def _counted(names: list[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) != 1 else ''}:"


def _listed(names: Iterable[str]) -> str:
    first = list(names)
    rest = len(first) - _NAMED
    return ", ".join(first[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
