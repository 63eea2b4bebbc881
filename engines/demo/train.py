"""Trains the demo model from nothing: ``python -m engines.demo.train --out FOLDER [--hours H]``.

The same command goes on where a killed training stopped. The result is ``FOLDER/weights``, a folder that any
``Kandinsky3Pipeline.from_pretrained`` loads.
"""

import argparse
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.multiprocessing.spawn import spawn

from engines.demo import networks
from engines.demo.autoencoder import train_autoencoder, tune_decoder
from engines.demo.denoiser import train_denoiser
from engines.demo.packing import pack
from engines.demo.reader import train_reader
from engines.demo.vocabulary import build_tokenizer, load_tokenizer
from engines.demo.workers import join

AUTOENCODER_SHARE = 0.22
DECODER_SHARE = 0.1
READER_SHARE = 0.04
"""Shares of the time: for the whole autoencoder, for its decoder alone, for the text encoder.

The denoiser has the rest, and what a kept part would have taken.
"""
PARTS = ("movq", "text_encoder")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train: where to, for how many seconds, from which seed, and from which earlier model if any.

    ``keep`` names parts of ``start`` that are taken over as they are. Of the others the autoencoder and the
    UNet begin from ``start``, the text encoder from nothing.
    """

    out: Path
    seconds: float
    seed: int = 0
    start: Path | None = None
    keep: frozenset[str] = frozenset()
    processes: int = 1


def _train(rank: int, plan: Plan) -> None:
    """Runs one process through the stages, save those whose part is kept."""
    worker = join(rank, plan.processes, plan.out / "meeting")
    tokenizer, left = load_tokenizer(plan.out), plan.seconds
    if "movq" not in plan.keep:
        earlier = plan.start / "movq" if plan.start else None
        share = plan.seconds * AUTOENCODER_SHARE
        joint = train_autoencoder(worker, plan.out, seconds=share, seed=plan.seed, start=earlier)
        tune_decoder(worker, plan.out, seconds=plan.seconds * DECODER_SHARE, seed=plan.seed, start=joint)
        left -= plan.seconds * (AUTOENCODER_SHARE + DECODER_SHARE)
    if "text_encoder" not in plan.keep:
        seconds = plan.seconds * READER_SHARE
        train_reader(worker, plan.out, tokenizer=tokenizer, seconds=seconds, seed=plan.seed)
        left -= seconds
    movq = networks.movq(plan.out / "movq")
    train_denoiser(
        worker, plan.out, movq=movq, tokenizer=tokenizer, seconds=left, seed=plan.seed, start=plan.start
    )
    worker.leave()


def train(plan: Plan) -> Path:
    """Trains, or goes on with, the model of a plan and returns the folder of its packed weights."""
    plan.out.mkdir(parents=True, exist_ok=True)
    if not (plan.out / "tokenizer").exists():
        tokenizer = load_tokenizer(plan.start) if plan.start else build_tokenizer(plan.seed)
        tokenizer.save_pretrained(plan.out / "tokenizer")
    if plan.start:
        for part in plan.keep:
            shutil.copytree(plan.start / part, plan.out / part, dirs_exist_ok=True)
    (plan.out / "meeting").unlink(missing_ok=True)
    if plan.processes == 1:
        _train(0, plan)
    else:
        spawn(_train, args=(plan,), nprocs=plan.processes)  # type: ignore[no-untyped-call]  # torch
    weights = plan.out / "weights"
    pack(plan.out / "pipeline", weights)
    return weights


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(prog="python -m engines.demo.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and of the result")
    parser.add_argument("--hours", type=float, default=3.0, help="training time")
    parser.add_argument("--seed", type=int, default=0, help="seed of pictures, captions and weights")
    parser.add_argument("--start", type=Path, help="folder of an earlier model to begin from")
    parser.add_argument(
        "--keep", nargs="+", choices=PARTS, default=(), help="parts of --start that stay as they are"
    )
    parser.add_argument(
        "--processes", type=int, help="processes that train (default: 1 on a GPU, else one a core)"
    )
    given = parser.parse_args()
    if given.keep and not given.start:
        parser.error("--keep needs --start")
    count = given.processes or (1 if torch.cuda.is_available() else os.cpu_count() or 1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    weights = train(
        Plan(given.out, given.hours * 3600, given.seed, given.start, frozenset(given.keep), count)
    )
    print(f"packed {weights}")


if __name__ == "__main__":
    main()
