"""Measures the demo model: ``python benchmarks/demo_quality.py [--weights FOLDER] [--sheet FILE]``.

Draws 64 prompts with 4 seeds each and reports, as JSON, the share of right attributes (by a network trained
for that alone and by checks on pixels), the autoencoder's reconstruction, how much pictures of one prompt
differ, and the time of a picture on one core.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from engines.demo import judge as judging
from engines.demo.autoencoder import reconstruction_psnr
from engines.demo.evaluation import Picture, Question, check, questions
from engines.demo.networks import SIZE, load_pipeline

WEIGHTS = Path(judging.__file__).parent / "weights"
STEPS, GUIDANCE, SEEDS, FIRST_SEED = 20, 2.0, 4, 9000
HELD_OUT = 424_242
SHEET = (
    "a red sailboat on the sea at sunset",
    "a blue house on green hills in daylight",
    "snowy mountains at night under a full moon",
    "a desert with a cactus on a sunny day",
    "a lake in the mountains at sunrise with a white sailboat",
    "an autumn forest during the day",
    "the sea at night with stars and a crescent moon",
    "a white house in a snowy forest at night",
    "hills with a purple sky",
    "a forest in the fog",
    "a yellow sailboat on a calm sea at noon",
    "mountains at sunset with a red house",
    "a pine tree on snowy hills, snow is falling",
    "the open sea in the rain",
    "desert dunes under a pink sky",
    "a beautiful landscape",
)


def draw(pipeline: Any, prompt: str, seed: int) -> Picture:
    """Returns one picture of a prompt."""
    made = pipeline(
        prompt,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        width=SIZE,
        height=SIZE,
        generator=torch.Generator().manual_seed(seed),
    )
    return np.asarray(made.images[0], np.uint8)


def score(asked: Sequence[Question], pictures: npt.NDArray[np.uint8], judge: judging.Judge) -> dict[str, Any]:
    """Returns the share of right attributes; ``pictures`` are (prompts, seeds, 128, 128, 3)."""
    judged: dict[str, list[bool]] = defaultdict(list)
    checked: dict[str, list[bool]] = defaultdict(list)
    for question, row in zip(asked, pictures, strict=True):
        for picture, answers in zip(row, judge.answers(row), strict=True):
            for name, value in question.wanted.items():
                judged[name].append(answers[name] == value)
                if name in ("boat", "house"):
                    judged[f"{name}, any colour"].append(answers[name] is not None)
            for label, passed in check(question, picture).items():
                checked[label].append(passed)
    return {
        "judge": {name: round(float(np.mean(right)), 3) for name, right in judged.items()},
        "checks": {label: round(float(np.mean(right)), 3) for label, right in checked.items()},
        "checks mean": round(float(np.mean([passed for right in checked.values() for passed in right])), 3),
    }


def diversity(pictures: npt.NDArray[np.uint8]) -> float:
    """Returns the mean absolute difference (0 to 255) between pictures of one prompt."""
    wide = pictures.astype(np.float32)
    pairs = [np.abs(wide[:, a] - wide[:, b]).mean() for a in range(wide.shape[1]) for b in range(a)]
    return round(float(np.mean(pairs)), 1)


def contact_sheet(pipeline: Any, path: Path) -> None:
    """Writes 16 pictures, one seed each and none picked, with their prompts."""
    side, caption = SIZE * 5 // 4, 42
    step = side + 6
    sheet = Image.new("RGB", (4 * step, 4 * (step + caption)), "white")
    pen = ImageDraw.Draw(sheet)
    for at, prompt in enumerate(SHEET):
        x, y = (at % 4) * step + 3, (at // 4) * (step + caption) + 3
        picture = Image.fromarray(draw(pipeline, prompt, at + 1))
        sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (x, y))
        pen.text((x, y + side + 1), fill(prompt, 26), fill="black")
    sheet.save(path, optimize=True)


def load_or_train_judge(path: Path | None, steps: int) -> judging.Judge:
    """Returns the judge of a file, or a new one, kept in that file if one is named."""
    if path and path.exists():
        return judging.load_judge(path)
    judge = judging.train_judge(steps, HELD_OUT + 1)
    if path:
        judging.save_judge(judge, path)
    return judge


def main() -> None:
    """Reads the command line, measures and prints the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the pipeline")
    parser.add_argument("--judge", type=Path, help="file of the judge; trained and written if absent")
    parser.add_argument("--judge-steps", type=int, default=500, help="training steps of a new judge")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="pictures per prompt")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet to this PNG")
    given = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = load_pipeline(given.weights)
    judge = load_or_train_judge(given.judge, given.judge_steps)
    asked = questions()
    draw(pipeline, "warming up", 0)
    begun = time.process_time()
    rows = [[draw(pipeline, q.prompt, FIRST_SEED + seed) for seed in range(given.seeds)] for q in asked]
    spent = (time.process_time() - begun) / (len(asked) * given.seeds)
    pictures = np.array(rows)
    report = {
        "prompts": len(asked),
        "seeds": given.seeds,
        **score(asked, pictures, judge),
        "judge on painted pictures": judging.accuracy(judge, HELD_OUT, 400),
        "reconstruction, dB": round(reconstruction_psnr(pipeline.movq, HELD_OUT, 64), 2),
        "difference between seeds": diversity(pictures) if given.seeds > 1 else None,
        "CPU seconds a picture": round(spent, 2),
    }
    if given.sheet:
        contact_sheet(pipeline, given.sheet)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
