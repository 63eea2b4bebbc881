"""``pack``: a model written as one file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from engines.calls import LoadProgress
from engines.conversion.cache import Cache, cache_root
from engines.detection import detect
from engines.errors import NotLoadable
from gateway.cli.deploy import parts
from gateway.cli.progress import Progress
from gateway.cli.tables import size_text
from gateway.control import settings_of
from gateway.problems import NotDeployable, Problem
from gateway.settings import Settings


def run(model: Path, target: Path, *, prior: Path | None, components: tuple[str, ...], force: bool) -> None:
    """Write the file, and say what it is.

    Raises:
        Problem: the model cannot be loaded, or the file not be written.
    """
    if target.exists() and not force:
        raise Problem(f"{target} is there already; --force replaces it")
    if target.suffix != ".safetensors":
        raise Problem(f"{target.name} must end in .safetensors, which is what it is")
    allowed = settings_of(os.environ, Settings()).allow_pickles
    card = detect(model, prior=prior, components=parts(components))
    if not card.loadable:
        raise NotDeployable(f"{card.path} cannot be loaded: {card.reason}")
    folder = target.absolute().parent
    if not folder.is_dir():
        raise Problem(f"{target} cannot be written: there is no folder {folder}")
    free = shutil.disk_usage(folder).free
    if free < card.size:
        raise Problem(f"{target} takes {size_text(card.size)}, and its disk has {size_text(free)} left")
    # Here, because it loads torch.
    from engines.packing import write_pack

    progress = Progress()
    try:
        with progress.transfer(f"Packing {card.name}") as advance:
            written = 0

            def count(piece: int) -> None:
                nonlocal written
                written += piece
                advance(written, card.size)

            def follow(conversion: LoadProgress) -> None:
                advance(conversion.bytes_read, conversion.bytes_total)

            write_pack(
                card,
                target,
                Cache(cache_root(os.environ)),
                pickles=allowed,
                on_conversion=follow,
                on_bytes=count,
            )
    except NotLoadable as error:
        raise NotDeployable(f"{card.path} cannot be loaded: {error.reason}") from error
    except OSError as error:
        raise Problem(f"{target} cannot be written: {error.strerror or error}") from error
    print(f"{target} holds {card.name} ({card.pipeline_class}, {size_text(target.stat().st_size)}).")
