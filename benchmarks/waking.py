"""How long a sleeping model takes to wake, with and without a spare worker, through the command line.

    .venv/bin/python -m benchmarks.waking [--wakes 10] [--model FOLDER ...]

Deploys the demo model, and other folders, in a state folder of its own, once without spares and once with
one; every model sleeps a second after its last request and is woken again. Of each wake, in seconds after
the request was sent: the constructor (from the log of the replica), the first progress of the load (the
model's health), the model being ready, the picture of one step. The controller's share of a core while all
sleep is told as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import httpx2
import psutil

from benchmarks.deployed import DEADLINE_SECONDS, Deployed, deployed, until
from engines.marking import is_marked

SPARES = "KANDINSKY_SPARE_ENGINES"
PHASES = ("constructor", "progress", "ready", "picture")
CONSTRUCTED = "Started initializing replica."
POLL_SECONDS = 0.01
REST_SECONDS = 10.0
SPARE_BYTES, SPARE_SECONDS, SPARE_PERCENT = 300 << 20, 1.0, 5.0
"""A worker that holds less, or takes more of a core during a look, is still importing."""

Wake = dict[str, float]


class Home(Deployed):
    """A service that keeps so many spares."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        super().__init__(folder, variables)
        self.client = httpx2.Client(base_url=self.url, timeout=DEADLINE_SECONDS)
        self.spares = int(variables[SPARES])

    def wake(self, model: str) -> Wake:
        """Wake a sleeping model once. Seconds after the request was sent."""
        until(lambda: self._state(model)["state"] == "asleep")
        until(lambda: len(self.spare_workers()) >= self.spares)
        body = {"model": model, "prompt": "the sea", "size": "64x64", "num_inference_steps": 1, "seed": 1}
        seen: Wake = {}
        with ThreadPoolExecutor(1) as pool:
            sent = time.time()
            answer = pool.submit(self.client.post, "/v1/images/generations", json=body)
            answer.add_done_callback(lambda _: seen.setdefault("picture", time.time() - sent))
            while "ready" not in seen and not answer.done():
                state = self._state(model)
                now = time.time() - sent
                if state["state"] in ("ready", "busy"):
                    seen["ready"] = now
                elif state.get("phase") not in (None, "starting", "waiting_for_room"):
                    seen.setdefault("progress", now)
                time.sleep(POLL_SECONDS)
            answer.result().raise_for_status()
        seen.setdefault("ready", seen["picture"])
        seen.setdefault("progress", seen["ready"])
        seen["constructor"] = self._constructed(model, sent) - sent
        return seen

    def _state(self, model: str) -> dict[str, object]:
        answer = self.client.get(f"/kandinsky-{model}/v1/health")
        state: dict[str, object] = answer.raise_for_status().json()
        return state

    def _constructed(self, model: str, after: float) -> float:
        """When the replica's constructor began, in Unix seconds, as its log says."""
        logs = Path(self.record["temporary"]) / "session_latest" / "logs" / "serve"
        for log in logs.glob(f"replica_model-{model}_*.log"):
            for line in log.read_text().splitlines():
                if CONSTRUCTED in line:
                    _, day, clock, _ = line.split(maxsplit=3)
                    moment = datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S,%f").timestamp()
                    if moment > after:
                        return moment
        raise LookupError(f"no replica of {model} has logged its constructor")

    def spare_workers(self) -> list[psutil.Process]:
        """The workers that have imported everything and have no work."""
        found = []
        for process in self.processes("ray::IDLE"):
            with suppress(psutil.Error):
                marked = is_marked(process.environ()) and process.memory_info().rss > SPARE_BYTES
                if marked and process.cpu_percent(SPARE_SECONDS) < SPARE_PERCENT:
                    found.append(process)
        return found

    def controller_percent(self) -> float:
        """The share of a core that Serve's controller takes while nothing happens."""
        return next(self.processes("ServeController")).cpu_percent(REST_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure wakes.")
    parser.add_argument("--wakes", type=int, default=10)
    parser.add_argument("--model", type=Path, nargs="*", default=[], help="folders of other models")
    arguments = parser.parse_args()
    models: dict[str, Path | None] = {"demo": None} | {path.name: path for path in arguments.model}
    measured: dict[int, dict[str, list[Wake]]] = {}
    for spares in (0, 1):
        with deployed(Home, **{SPARES: str(spares)}) as service:
            measured[spares] = measure(service, models, arguments.wakes)
    for model in models:
        show(model, measured[0][model], measured[1][model])


def measure(service: Home, models: dict[str, Path | None], wakes: int) -> dict[str, list[Wake]]:
    for name, path in models.items():
        place = () if path is None else (str(path),)
        service.command("deploy", *place, "--model-name", name, "--threads", "1", "--idle-seconds", "1")
    measured = {name: [service.wake(name) for _ in range(wakes)] for name in models}
    until(lambda: len(service.spare_workers()) >= service.spares)
    memory = [process.memory_info().rss >> 20 for process in service.spare_workers()]
    print(f"{service.spares} spares: {memory} MB; controller {service.controller_percent():.1f} % of a core")
    return measured


def show(model: str, without: list[Wake], with_spare: list[Wake]) -> None:
    print(f"{model}, {len(without)} wakes  without p50 / p90 (s)   with a spare p50 / p90 (s)   ratio of p50")
    for phase in PHASES:
        before, after = ([wake[phase] for wake in wakes] for wakes in (without, with_spare))
        ratio = statistics.median(before) / statistics.median(after)
        print(f"  {phase:12} {spread(before):>24} {spread(after):>28} {ratio:14.1f}")


def spread(seconds: list[float]) -> str:
    worst = statistics.quantiles(seconds, n=10, method="inclusive")[-1]
    return f"{statistics.median(seconds):6.2f} / {worst:5.2f}"


if __name__ == "__main__":
    main()
