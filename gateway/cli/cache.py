"""``cache``: the converted models."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from engines.conversion.cache import Cache, Entry, cache_root
from gateway.cli.tables import print_table, size_text
from gateway.problems import Problem

_DAY_SECONDS: Final = 86400.0


def show(environment: Mapping[str, str]) -> None:
    """Print the table."""
    cache = Cache(cache_root(environment))
    entries = cache.entries()
    rows = [_row(entry) for entry in entries]
    print_table(("MODEL", "FAMILY", "SIZE", "MADE FROM", "LAST USED", "KEY"), rows)
    total = size_text(sum(entry.manifest.size for entry in entries))
    print(f"\n{len(entries)} converted, {total} in {cache.root}.")


def remove(environment: Mapping[str, str], *, everything: bool, days: float | None) -> None:
    """Remove the chosen entries, and say what was freed.

    Raises:
        Problem: nothing was said to be chosen.
    """
    if not everything and days is None:
        raise Problem("say which: --all, or --older-than DAYS")
    before = time.time() - (days or 0.0) * _DAY_SECONDS
    cache = Cache(cache_root(environment))
    kept = len(cache.entries())
    removed, freed = cache.prune(lambda entry: everything or entry.used < before, rest=everything)
    for entry in removed:
        print(f"removed {entry.manifest.model} ({entry.key})")
    print(f"{size_text(freed)} freed.")
    left = kept - len(removed)
    if everything and left:
        print(f"{left} stay: they are in use, or {cache.root} cannot be written.")


def _row(entry: Entry) -> tuple[str, ...]:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
    origins = ", ".join(origin.name for origin in entry.manifest.origins)
    size = size_text(entry.manifest.size)
    shown = "now" if entry.in_use else used
    return entry.manifest.model, entry.manifest.family, size, origins, shown, entry.key
