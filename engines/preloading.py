"""What an engine imports, imported before there is one: Ray's workers load this module as they start.

In a process that is marked as an engine's it starts a thread that takes the seconds which the libraries
cost, before a model is asked for; in every other process its import does nothing. Ray offers no other
place for it (``RAY_preload_python_modules``), hence the only module here whose import acts and reads the
environment. A process that becomes an engine at once gives way (`give_way`) and imports for itself.

Nothing here touches a GPU: which one the engine may use is known when Ray gives it the process.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from engines.marking import is_marked

_logger = logging.getLogger(__name__)

NICENESS: Final = 10
"""How far the thread stands back behind what draws and loads meanwhile."""
STARTING: Final = ("ray.serve._private.replica", "engines.deployment", "engines.presence")
"""What the constructor of an engine needs."""
LOADING: Final = (
    "torch",
    "diffusers",
    "transformers.modeling_utils",
    "diffusers.pipelines.pipeline_utils",
    # It imports nearly every pipeline and component there is.
    "diffusers.pipelines.auto_pipeline",
    "diffusers.pipelines.kandinsky5.pipeline_kandinsky_t2i",
    "engines.bringing",
    "engines.encoding",
    "engines.metrics",
)
"""What a load and a picture need."""


class Preloading:
    """Imports modules in a thread, until somebody is in a hurry.

    It begins at once: waiting until it is known that the process is no engine yet would make a wake without
    a spare a second longer (measured), for the constructor takes little of the time.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self._modules = tuple(modules)
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._import, name="preload", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def finish(self) -> None:
        """Wait until everything is imported."""
        self._thread.join()

    def give_way(self) -> None:
        """End after the module under way, and wait for that: two threads that import the same modules at
        a time may find them half made."""
        self._hurry.set()
        self._thread.join()

    def _import(self) -> None:
        # Linux counts niceness by thread; elsewhere there is no process of this number.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        for module in self._modules:
            if self._hurry.is_set():
                return
            _import(module)


def give_way() -> None:
    """Import nothing more ahead in this process; returns when no import is under way."""
    if _preloading is not None:
        _preloading.give_way()


def _import(module: str) -> None:
    """What cannot be imported is left to the engine, which can say so."""
    try:
        importlib.import_module(module)
    except ImportError:
        _logger.exception("%s cannot be imported ahead", module)


_preloading: Preloading | None = None
if is_marked(os.environ):
    for name in STARTING:
        _import(name)
    _preloading = Preloading(LOADING)
    _preloading.start()
