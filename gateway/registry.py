"""Which models there are, under which names: names and aliases to card and schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from compat.errors import ModelNotFound
from engines.calls import EngineOptions
from engines.card import ModelCard
from engines.errors import UnknownModel
from engines.schema import Frozen, PipelineSchema
from gateway.remotes import RemoteEntry

ANY: Final = "*"
"""The alias of the model that answers to every unknown name."""

NATIVE_PREFIX: Final = "kandinsky-"


class ModelEntry(Frozen):
    """A deployed model as the gateway's Serve config lists it. ``created`` is in Unix seconds.

    ``fallback`` names the model that answers OpenAI's calls while this one is not awake.
    """

    card: ModelCard
    schema_: PipelineSchema
    options: EngineOptions = EngineOptions()
    aliases: tuple[str, ...] = ()
    created: int = 0
    fallback: str | None = None

    @property
    def name(self) -> str:
        return self.card.name


Entry = ModelEntry | RemoteEntry
"""A model of this gateway's own, or of another server. `gateway.answering` tells them apart."""


class Registry:
    """The models by name and alias. Iterating gives those that have engines here."""

    def __init__(self, entries: Iterable[ModelEntry] = (), remotes: Iterable[RemoteEntry] = ()) -> None:
        every: tuple[Entry, ...] = (*entries, *remotes)
        self._entries = {entry.name: entry for entry in every}
        self._aliases = {alias: entry.name for entry in self._entries.values() for alias in entry.aliases}

    def __iter__(self) -> Iterator[ModelEntry]:
        return (entry for entry in self._entries.values() if isinstance(entry, ModelEntry))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every model, wherever it is."""
        return tuple(self._entries.values())

    @property
    def remotes(self) -> tuple[RemoteEntry, ...]:
        """The models of other servers."""
        return tuple(entry for entry in self._entries.values() if isinstance(entry, RemoteEntry))

    @property
    def names(self) -> tuple[str, ...]:
        """Every model's own name."""
        return tuple(self._entries)

    @property
    def default(self) -> Entry | None:
        """The model for calls that name none: the only one, or the one with the alias ``*``."""
        if len(self._entries) == 1:
            return next(iter(self._entries.values()))
        return self._entries.get(self._aliases.get(ANY, ""))

    def get(self, name: str) -> ModelEntry:
        """The model of exactly this name, which is known to be there and to have an engine here."""
        entry = self._entries[name]
        assert isinstance(entry, ModelEntry)
        return entry

    def replaced(self, entry: ModelEntry) -> Registry:
        """The same models with this one in the place of the one of its name."""
        entries = (entry if other.name == entry.name else other for other in self)
        return Registry(entries, self.remotes)

    def listed(self, name: str) -> Entry:
        """The model that ``/v1/models`` lists under this name; the catch-all alias does not count.

        Raises:
            ModelNotFound: naming the models there are.
        """
        target = self._aliases.get(name, name)
        if target not in self._entries or name == ANY:
            raise ModelNotFound(name, self.names)
        return self._entries[target]

    def resolve(self, name: str | None) -> Entry:
        """The model for a request: by name, by alias, or the default.

        Raises:
            UnknownModel: naming the models there are.
        """
        if name is None:
            if self.default is None:
                raise UnknownModel("", self.names)
            return self.default
        if name in self._entries:
            return self._entries[name]
        target = self._aliases.get(name) or self._aliases.get(ANY)
        if target is None:
            raise UnknownModel(name, self.names)
        return self._entries[target]

    def native(self, name: str) -> Entry:
        """The model of a native route ``/kandinsky-<name>/…``.

        A model that is itself called ``kandinsky-3`` is found under ``/kandinsky-3/…``.

        Raises:
            ModelNotFound: naming the models there are.
        """
        for candidate in (name, NATIVE_PREFIX + name):
            target = self._aliases.get(candidate, candidate)
            if target in self._entries:
                return self._entries[target]
        raise ModelNotFound(name, self.names)


def native_path(model: str) -> str:
    """The path prefix of a model's native routes."""
    stem = model.removeprefix(NATIVE_PREFIX) or model
    return f"/{NATIVE_PREFIX}{stem}/v1"
