"""A load that no longer moves has failed, and says where; one that is slow has not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engines import loading
from engines.calls import LoadPhase, LoadProgress
from engines.detection import detect
from engines.errors import EngineLeaving, LoadFailed
from engines.stalling import Stall, bytes_read
from tests.engines.engines import call, engine_of, warmed


@pytest.mark.anyio
async def test_a_load_that_hangs_has_failed_and_the_engine_leaves(
    tiny_models: Callable[[str], Path],
) -> None:
    engine = engine_of(detect(tiny_models("sd15"), name="sd15"), load_timeout_seconds=1.0)
    # A load that goes on in another thread of this process for ever.
    with loading._ONE_AT_A_TIME:
        last = (await warmed(engine))[-1]
    assert last.phase is LoadPhase.FAILED
    assert (last.reason or "").startswith("no progress for 1 s while importing")
    assert engine.record_autoscaling_stats() == {"leaving": 1.0}
    with pytest.raises(EngineLeaving):
        await engine.generate(call())


def test_a_report_is_progress() -> None:
    stall = Stall(0.0)
    assert stall.lasts(LoadProgress(phase=LoadPhase.LOADING))
    assert not Stall(60.0).lasts(LoadProgress(phase=LoadPhase.LOADING))


def test_what_was_read_from_storage_is_counted() -> None:
    assert bytes_read() >= 0


def test_a_hanging_load_is_told_in_words() -> None:
    words = Stall(600.0).described(LoadProgress(phase=LoadPhase.DOWNLOADING))
    assert str(LoadFailed("m", words)) == (
        "The model 'm' could not be loaded: no progress for 600 s while downloading"
    )
