"""How long ``kandinsky-gateway list`` takes on a folder of mixed checkpoints, and how many bytes it reads.

    python benchmarks/listing.py [--files 200] [--repeats 3]

The files have the names and shapes of real models (Kandinsky 3's UNet, SDXL's, a LoRA) as safetensors and as
pickles; the tensors' bytes are holes in sparse files. The baseline, in the same run, is the time to import
what the command imports.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import Kandinsky3UNet, UNet2DConditionModel

Shapes = Mapping[str, tuple[int, ...]]
# Of ten files: six safetensors, three pickles, one that is no checkpoint.
KINDS = (
    "kandinsky3",
    "sdxl",
    "lora",
    "kandinsky3.ckpt",
    "sdxl",
    "lora",
    "lora.pt",
    "kandinsky3",
    "sdxl.ckpt",
    "page",
)


def main() -> None:
    """Make the folder, list it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.files)
        held = sum(file.stat().st_size for file in Path(folder).iterdir())
        times = [listed(folder) for _ in range(options.repeats)]
        baseline = statistics.median(
            timed("-c", "import gateway.cli.listing") for _ in range(options.repeats)
        )
        listing = statistics.median(times)
        print(
            f"{options.files} files of {held / 1e9:.0f} GB: listed in {listing:.2f} s "
            f"(import alone {baseline:.2f} s)"
        )
        print(f"bytes read: {bytes_read(folder) / 1e6:.1f} MB")


def make(folder: Path, count: int) -> None:
    """Write the files."""
    with torch.device("meta"):
        unet = Kandinsky3UNet()
        sdxl = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
        )
    shapes: dict[str, Shapes] = {
        "kandinsky3": {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()},
        "sdxl": {name: tuple(tensor.shape) for name, tensor in sdxl.state_dict().items()},
        "lora": {f"lora_unet_blocks_{number}.lora_down.weight": (4, 320) for number in range(700)},
    }
    for number in range(count):
        kind, _, suffix = KINDS[number % len(KINDS)].partition(".")
        path = folder / f"{kind}-{number}.{suffix or 'safetensors'}"
        if kind == "page":
            path.write_text("<html>Not found</html>")
        elif suffix:
            torch.save(
                {
                    name: torch.zeros(1, dtype=torch.float16).expand(shape)
                    for name, shape in shapes[kind].items()
                },
                path,
            )
        else:
            _sparse(path, shapes[kind])


def _sparse(path: Path, shapes: Shapes) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def listed(folder: str) -> float:
    """Seconds of one listing by the command line."""
    return timed("-m", "gateway", "list", MODELS_DIR=folder)


def timed(*arguments: str, **variables: str) -> float:
    """Seconds of a Python process."""
    started = time.perf_counter()
    environment = {**os.environ, **variables}
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


def bytes_read(folder: str) -> int:
    """Bytes that detection reads, as the kernel counts them."""
    program = (
        "import sys; from engines.detection import find_models\n"
        "def read(): return int(open('/proc/self/io').read().split()[1])\n"
        "before = read(); find_models(sys.argv[1]); print(read() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, folder], check=True, capture_output=True, text=True)
    return int(done.stdout)


if __name__ == "__main__":
    main()
