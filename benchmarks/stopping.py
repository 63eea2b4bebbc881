"""How soon the pipeline is free again after a stop: steps, milliseconds, and parts of a step.

``python -m benchmarks.stopping`` stops the tiny families of the tests at moments spread over their steps;
``--model PATH`` does it with a real model, on whatever device there is. A stop falls into a step at any
place, so half a step is what is waited for on average, where there is nothing else to wait for. The step is
the median of the second half, which of two stages is the decoder's. Afterwards the picture must be, bit for
bit, the one before.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from engines.calls import EngineCall, EngineOptions
from engines.detection import detect
from engines.discovery import complete, discover
from engines.errors import GenerationStopped
from engines.generation import Generated, generate
from engines.loading import LoadedModel, load
from engines.schema import PipelineSchema

FAMILIES = ("kandinsky21", "kandinsky22", "kandinsky3", "kandinsky5", "sd15", "sd3", "sdxl", "flux")
MEGAPIXEL_ALWAYS = "kandinsky5"
HEAD = "model           steps after   step ms  free ms p50       max  of a step p50    max"


@dataclass(frozen=True)
class Row:
    """What the stops of one model came to, in milliseconds."""

    name: str
    steps_after: int
    step: float
    free: list[float]

    def __str__(self) -> str:
        middle, most = statistics.median(self.free), max(self.free)
        shares = f"{middle / self.step:14.2f} {most / self.step:6.2f}"
        return f"{self.name:14} {self.steps_after:12} {self.step:9.1f} {middle:12.1f} {most:9.1f} {shares}"


class Subject:
    """A loaded model, drawn whole or stopped."""

    def __init__(self, path: Path, *, steps: int, size: int, threads: int | None) -> None:
        card = detect(path, name=path.name)
        self._options = EngineOptions(threads=threads)
        self._model: LoadedModel = load(card, self._options, lambda _: None)
        self._schema: PipelineSchema = complete(discover(card), self._model.pipelines)
        parameters: dict[str, JsonValue] = {"prompt": "a red fox", "num_inference_steps": steps}
        if path.name != MEGAPIXEL_ALWAYS:
            parameters |= {"height": size, "width": size}
        self._call = EngineCall(request_id="stop", method="__call__", parameters=parameters, seed=1)
        self.times: list[float] = []

    def draw(self, stop: threading.Event) -> Generated:
        """Draw, noting when each step was made."""
        self.times = []
        return generate(
            self._model,
            self._schema,
            self._call,
            options=self._options,
            stop=stop,
            on_step=lambda *_: self.times.append(time.perf_counter()),
        )

    def stopped(self, after: float) -> tuple[float, int] | None:
        """Ask for the end ``after`` seconds from the start: seconds until it came, steps made since.

        ``None`` where the picture was done before.
        """
        stop, asked = threading.Event(), 0.0

        def ask() -> None:
            nonlocal asked
            asked = time.perf_counter()
            stop.set()

        timer = threading.Timer(after, ask)
        timer.start()
        try:
            self.draw(stop)
        except GenerationStopped:
            free = time.perf_counter()
            return free - asked, sum(each > asked for each in self.times)
        finally:
            timer.cancel()
        return None


def measure(path: Path, *, rounds: int, steps: int, size: int, threads: int | None) -> Row:
    """Draw whole, stop ``rounds`` times at moments spread over the denoising, draw whole again."""
    subject = Subject(path, steps=steps, size=size, threads=threads)
    subject.draw(threading.Event())
    began = time.perf_counter()
    whole = subject.draw(threading.Event())
    first, last = subject.times[0] - began, subject.times[-1] - began
    between = [later - earlier for earlier, later in zip(subject.times, subject.times[1:], strict=False)]
    moments = [first + (last - first) * (number + 0.5) / rounds for number in range(rounds)]
    stops = [stop for moment in moments if (stop := subject.stopped(moment)) is not None]
    again = subject.draw(threading.Event())
    assert again.images[0][0].tobytes() == whole.images[0][0].tobytes(), f"{path.name} draws another picture"
    free = [1000 * seconds for seconds, _ in stops]
    step = 1000 * statistics.median(between[len(between) // 2 :])
    return Row(path.name, max(made for _, made in stops), step, free)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", help="a model's folder; else tiny families")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    options = {name: getattr(given, name) for name in ("rounds", "steps", "size", "threads")}
    print(HEAD)
    if given.model:
        for path in given.model:
            print(measure(path, **options), flush=True)
        return
    from tests.tiny import build

    with tempfile.TemporaryDirectory() as folder:
        for name in FAMILIES:
            print(measure(build(name, Path(folder) / name), **options), flush=True)


if __name__ == "__main__":
    main()
