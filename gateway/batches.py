"""Batches at work: one line at a time, behind every live request, across restarts.

A batch's record and each finished line are objects of the storage, so a gateway that comes back goes on
where the last one stopped; no finished line is drawn again.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

from pydantic import ValidationError

from compat.errors import BatchEnded, BatchNotFound, FileNotStored
from engines.errors import StorageFailed
from gateway.batch import (
    Batch,
    BatchFault,
    Counts,
    Faults,
    Line,
    Outcome,
    Status,
    expired_line,
    read_lines,
)
from gateway.files import Files
from gateway.objects import Objects

_logger = logging.getLogger(__name__)

Execute = Callable[[Batch, Line], Awaitable[Outcome]]
"""Makes the call of a line, once no live request is in its way; failures are outcomes too."""

_ID: Final = re.compile(r"batch_[0-9a-f]{24}")
_FOLDER: Final = "batches"
AGAIN_SECONDS: Final = 5.0
"""Pause after a failure of the storage."""


class Batches:
    """The batches of a storage, and the one task that works on them."""

    def __init__(self, objects: Objects, files: Files, execute: Execute) -> None:
        self._objects = objects
        self._files = files
        self._execute = execute
        self._news = asyncio.Event()
        self._cancelled: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work, on what an earlier gateway has left first."""
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def close(self) -> None:
        """Stop working; what is unfinished stays so."""
        if self._task is not None:
            self._task.cancel()

    async def submit(self, batch: Batch) -> Batch:
        """Take a batch on.

        Raises:
            StorageFailed
        """
        await self._save(batch)
        self._news.set()
        return batch

    async def get(self, batch_id: str) -> Batch:
        """A batch's record.

        Raises:
            BatchNotFound
        """
        found = await self._read(batch_id) if _ID.fullmatch(batch_id) else None
        if found is None:
            raise BatchNotFound(batch_id)
        return found

    async def all(self) -> list[Batch]:
        """All batches, the newest first."""
        names = await self._objects.names(_FOLDER)
        ids = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        found = [batch for batch in [await self._read(each) for each in ids] if batch is not None]
        return sorted(found, key=lambda batch: (batch.created_at, batch.id), reverse=True)

    async def cancel(self, batch_id: str) -> Batch:
        """Ask a batch to end after the line it is at.

        Raises:
            BatchNotFound
            BatchEnded: there is nothing left to cancel.
        """
        batch = await self.get(batch_id)
        if batch.ended:
            raise BatchEnded(batch_id, batch.status)
        if batch.status != "cancelling":
            batch = batch.moved("cancelling")
            await self._save(batch)
        self._cancelled.add(batch_id)
        self._news.set()
        return batch

    async def _work(self) -> None:
        while True:
            self._news.clear()
            try:
                for batch in reversed(await self.all()):
                    if not batch.ended:
                        await self._run(batch)
            except StorageFailed:
                _logger.exception("batches wait for the storage")
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            await self._news.wait()

    async def _run(self, batch: Batch) -> None:
        lines, faults = await self._lines(batch)
        if faults:
            await self._save(batch.moved("failed", errors=Faults(data=tuple(faults))))
            return
        if batch.status == "validating":
            batch = batch.moved("in_progress", request_counts=Counts(total=len(lines)))
            await self._save(batch)
        outcomes: list[Outcome | None] = []
        for number, line in enumerate(lines):
            stopped = self._stopped(batch)
            outcome = await self._outcome(batch, number, None if stopped else line)
            outcomes.append(outcome)
            batch = batch.model_copy(update={"request_counts": _counts(len(lines), outcomes)})
            if not self._stopped(batch):
                await self._save(batch)
        await self._finish(batch, lines, outcomes)

    def _stopped(self, batch: Batch) -> bool:
        cancelled = batch.status == "cancelling" or batch.id in self._cancelled
        return cancelled or time.time() > batch.expires_at

    async def _lines(self, batch: Batch) -> tuple[list[Line], list[BatchFault]]:
        try:
            data = await self._files.read(batch.input_file_id)
        except FileNotStored as error:
            return [], [BatchFault(code="invalid_input_file", message=str(error), param="input_file_id")]
        return read_lines(data, batch.endpoint)

    async def _outcome(self, batch: Batch, number: int, line: Line | None) -> Outcome | None:
        """What became of a line; it is drawn now if it was not before and may be."""
        place = f"{_FOLDER}/{batch.id}/{number}.json"
        kept = await self._objects.read(place)
        if kept is not None:
            return Outcome.model_validate_json(kept)
        if line is None:
            return None
        outcome = await self._execute(batch, line)
        await self._objects.write(place, outcome.model_dump_json().encode())
        return outcome

    async def _finish(self, batch: Batch, lines: list[Line], outcomes: list[Outcome | None]) -> None:
        done = [outcome for outcome in outcomes if outcome is not None]
        left = [line for line, outcome in zip(lines, outcomes, strict=True) if outcome is None]
        cancelled = batch.status == "cancelling" or batch.id in self._cancelled
        if batch.finalizing_at is None and not cancelled:
            batch = batch.moved("finalizing")
            await self._save(batch)
        good = [outcome.as_json() for outcome in done if not outcome.failed]
        bad = [outcome.as_json() for outcome in done if outcome.failed]
        if not cancelled:
            bad += [expired_line(line.custom_id) for line in left]
        ending: Status = "cancelled" if cancelled else "expired" if left else "completed"
        cancelling = {"cancelling_at": batch.cancelling_at or int(time.time())} if cancelled else {}
        batch = batch.moved(
            ending,
            output_file_id=await self._file(batch, "output", good),
            error_file_id=await self._file(batch, "error", bad),
            **cancelling,
        )
        await self._save(batch)
        self._cancelled.discard(batch.id)
        await self._objects.remove_folder(f"{_FOLDER}/{batch.id}")

    async def _file(self, batch: Batch, kind: str, rows: list[bytes]) -> str | None:
        if not rows:
            return None
        record = await self._files.create(
            b"\n".join(rows) + b"\n",
            filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            seconds=batch.output_seconds,
        )
        return record.id

    async def _save(self, batch: Batch) -> None:
        await self._objects.write(f"{_FOLDER}/{batch.id}.json", batch.model_dump_json().encode())

    async def _read(self, batch_id: str) -> Batch | None:
        data = await self._objects.read(f"{_FOLDER}/{batch_id}.json")
        try:
            return None if data is None else Batch.model_validate_json(data)
        except ValidationError as error:
            _logger.warning("the record of %s cannot be read: %s", batch_id, error)
            return None


def _counts(total: int, outcomes: list[Outcome | None]) -> Counts:
    done = [outcome for outcome in outcomes if outcome is not None]
    failed = sum(outcome.failed for outcome in done)
    return Counts(total=total, completed=len(done) - failed, failed=failed)
