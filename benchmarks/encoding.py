"""How long an image takes to encode, against Pillow's own PNG in the same run.

``python benchmarks/encoding.py [--size 1024] [--repeat 7] [FILE]`` prints a table. Without a FILE the
picture is a smooth one with a little noise, which compresses about as well as a photograph.
The fastest of the repeats counts: other work on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from engines.calls import ImageFormat
from engines.encoding import encode


def photograph(size: int) -> Image.Image:
    """A smooth picture of ``size`` x ``size`` pixels with noise of two levels."""
    source = np.random.default_rng(0)
    coarse = source.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    noise = source.normal(0, 2, (size, size, 3))
    return Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8))


def pillow_png(image: Image.Image, level: int | None = None) -> bytes:
    """Pillow's PNG, at its default level where none is given."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **({} if level is None else {"compress_level": level}))
    return buffer.getvalue()


def fastest(make: Callable[[], bytes], repeat: int) -> tuple[float, int]:
    """Milliseconds of the fastest of ``repeat`` runs, and the size of the result in bytes."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        data = make()
        times.append(time.perf_counter() - started)
    return min(times) * 1000, len(data)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    image = Image.open(options.file).convert("RGB") if options.file else photograph(options.size)

    encoders: dict[str, Callable[[], bytes]] = {
        "Pillow PNG, default": lambda: pillow_png(image),
        "Pillow PNG, level 1": lambda: pillow_png(image, 1),
        "engine PNG": lambda: encode(image, ImageFormat.PNG, None),
        "engine JPEG, default": lambda: encode(image, ImageFormat.JPEG, None),
        "engine WebP, default": lambda: encode(image, ImageFormat.WEBP, None),
    }
    results = {name: fastest(make, options.repeat) for name, make in encoders.items()}
    base_time, base_size = results["Pillow PNG, default"]
    table = Table("encoder", "ms", "times faster", "MB", "size", title=f"{image.width}x{image.height} RGB")
    for name, (milliseconds, size) in results.items():
        table.add_row(
            name,
            f"{milliseconds:.1f}",
            f"{base_time / milliseconds:.1f}",
            f"{size / 1e6:.2f}",
            f"{size / base_size:.0%}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
