"""Where the prior of a Kandinsky 2 decoder lies."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from engines.card import Family, Part
from engines.errors import NotLoadable
from engines.formats import diffusers_folder
from engines.formats.families import family_of_class, part_of_class

_LARGEST_README: Final = 2**20
_LONGEST_NAME: Final = 255


def find(decoder: Path, family: Family, given: Path | None) -> Path:
    """The prior that completes a decoder: the one given, that of its README.md, or its neighbour.

    Raises:
        NotLoadable: there is none, or several, or the one given does not fit.
    """
    if given is not None:
        if not _fits(given, family):
            reason = f"the prior given ({given.name}) is no diffusers folder of a {family.value} prior"
            raise NotLoadable(decoder.name, reason)
        return given.resolve()
    wanted = named_in_readme(decoder)
    local = decoder / wanted if wanted else None
    if local is not None and _fits(local, family):
        return local.resolve()
    return _neighbour(decoder, family, Path(wanted).name if wanted else None)


def _neighbour(decoder: Path, family: Family, wanted: str | None) -> Path:
    folders = sorted(entry for entry in decoder.resolve().parent.iterdir() if entry.is_dir())
    priors = [folder for folder in folders if _fits(folder, family)]
    by_name = [folder for folder in priors if folder.name == wanted]
    if len(by_name or priors) == 1:
        return (by_name or priors)[0]
    if priors:
        names = ", ".join(folder.name for folder in priors)
        reason = f"several priors lie beside this {family.value} decoder ({names}): choose one with --prior"
        raise NotLoadable(decoder.name, reason)
    reason = (
        f"this is the decoder of {family.value} alone, which draws from image embeddings, not a prompt: "
        "put the folder of its prior beside it, or give it with --prior"
    )
    raise NotLoadable(decoder.name, reason)


def _fits(folder: Path, family: Family) -> bool:
    if not diffusers_folder.is_pipeline(folder):
        return False
    try:
        name = diffusers_folder.class_of(folder)
    except NotLoadable:
        return False
    return part_of_class(name) is Part.PRIOR and family_of_class(name) is family


def named_in_readme(decoder: Path) -> str | None:
    """The first ``prior:`` of the front matter: a folder, or the name of a repository of the hub."""
    readme = decoder / "README.md"
    if not readme.is_file() or readme.stat().st_size > _LARGEST_README:
        return None
    lines = readme.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return None
    following = iter(lines[1:])
    for line in following:
        if line.strip() == "---":
            return None
        key, separator, value = line.partition(":")
        if separator and key.strip() == "prior":
            text = value.strip() or next(following, "").strip().removeprefix("-")
            name = text.strip(" []\"'")
            return name if 0 < len(name) <= _LONGEST_NAME else None
    return None
