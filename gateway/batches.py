"""Batches at work: one line at a time, behind every live request, across restarts.

A batch is worked on by the one living gateway that has claimed it. Its record and each finished line are
objects of the storage, so whoever claims it next goes on where the last one stopped; no finished line is
drawn again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

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
from gateway.batch_claims import BatchClaims
from gateway.batch_records import BatchRecords
from gateway.files import Files
from gateway.leases import Lease
from gateway.rounds import Rounds

_logger = logging.getLogger(__name__)

Execute = Callable[[Batch, Line], Awaitable[Outcome]]
"""Makes the call of a line, once no live request is in its way; failures are outcomes too."""

POLL_SECONDS: Final = 2.0
"""How often is looked for what other gateways have taken on or left."""
AGAIN_SECONDS: Final = 5.0
"""Pause after a failure of the storage."""


class Batches:
    """The batches of a storage, and the one task that works on those that this gateway claims."""

    def __init__(
        self,
        records: BatchRecords,
        claims: BatchClaims,
        lease: Lease,
        execute: Execute,
        *,
        files: Files,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._records = records
        self._claims = claims
        self._lease = lease
        self._execute = execute
        self._files = files
        self._rounds = Rounds("batches", self._work, seconds=poll_seconds, pause=AGAIN_SECONDS)
        self._looked_through = False
        self._running: asyncio.Task[None] | None = None
        lease.lost.append(self._drop)

    def start(self) -> None:
        """Begin to work, on what an earlier gateway has left first."""
        self._rounds.start()

    def close(self) -> None:
        """Stop working; what is unfinished stays so."""
        self._rounds.close()
        self._drop()

    async def submit(self, batch: Batch) -> Batch:
        """Take a batch on.

        Raises:
            StorageFailed
        """
        await self._records.save(batch)
        try:
            await self._claims.add(batch)
        except StorageFailed:
            with contextlib.suppress(StorageFailed):
                await self._records.remove(batch.id)
            raise
        self._rounds.look()
        return batch

    async def get(self, batch_id: str) -> Batch:
        """A batch's record.

        Raises:
            BatchNotFound, StorageFailed
        """
        found = await self._records.get(batch_id)
        if found is None:
            raise BatchNotFound(batch_id)
        return found

    async def all(self) -> list[Batch]:
        """All batches, the newest first.

        Raises:
            StorageFailed
        """
        return await self._records.all()

    async def cancel(self, batch_id: str) -> Batch:
        """Ask a batch to end after the line it is at.

        Raises:
            BatchNotFound, StorageFailed
            BatchEnded: there is nothing left to cancel.
        """
        batch = await self.get(batch_id)
        if batch.ended:
            raise BatchEnded(batch_id, batch.status)
        return batch if batch.status == "cancelling" else await self._records.cancel(batch)

    def _drop(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _work(self) -> None:
        if not self._looked_through:
            await self._add_left()
            self._looked_through = True
        await self._work_on_all()

    async def _add_left(self) -> None:
        """Let what is unfinished in the storage be worked on, whatever the database remembers of it."""
        for batch in await self._records.all():
            if not batch.ended:
                await self._claims.add(batch)

    async def _work_on_all(self) -> None:
        """Claim one batch after the other, until none is left that is nobody else's."""
        while await self._claims.any():
            owner = await self._lease.hold()
            await self._lease.bury()
            claimed = await self._claims.claim(owner)
            if claimed is None:
                return
            # A task of its own: a gateway that was given up drops it, and goes on to look for others.
            self._running = asyncio.create_task(self._run(claimed, owner))
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.result()

    async def _run(self, batch_id: str, owner: str) -> None:
        batch = await self._records.get(batch_id)
        if batch is None or batch.ended:
            await self._clear(batch_id)
            return
        lines, faults = await self._lines(batch)
        if faults:
            if await self._claims.holds(batch_id, owner):
                await self._end(batch.moved("failed", errors=Faults(data=tuple(faults))))
            return
        if batch.status == "validating":
            batch = batch.moved("in_progress", request_counts=Counts(total=len(lines)))
            await self._records.note(batch)
        outcomes: list[Outcome | None] = []
        for number, line in enumerate(lines):
            outcome = await self._records.outcome(batch, number)
            if outcome is None and not _stopped(batch):
                batch = await self._records.asked(batch)
            if outcome is None and not _stopped(batch):
                if not await self._claims.holds(batch_id, owner):
                    return
                outcome = await self._execute(batch, line)
                await self._records.keep(batch, number, outcome)
                counts = _counts(len(lines), [*outcomes, outcome])
                batch = batch.model_copy(update={"request_counts": counts})
                await self._records.note(batch)
            outcomes.append(outcome)
        batch = batch.model_copy(update={"request_counts": _counts(len(lines), outcomes)})
        batch = await self._records.asked(batch)
        if await self._claims.holds(batch_id, owner):
            await self._finish(batch, lines, outcomes)

    async def _lines(self, batch: Batch) -> tuple[list[Line], list[BatchFault]]:
        try:
            data = await self._files.read(batch.input_file_id)
        except FileNotStored as error:
            return [], [BatchFault(code="invalid_input_file", message=str(error), param="input_file_id")]
        return read_lines(data, batch.endpoint)

    async def _finish(self, batch: Batch, lines: list[Line], outcomes: list[Outcome | None]) -> None:
        done = [outcome for outcome in outcomes if outcome is not None]
        left = [line for line, outcome in zip(lines, outcomes, strict=True) if outcome is None]
        cancelled = batch.status == "cancelling"
        if batch.finalizing_at is None and not cancelled:
            batch = batch.moved("finalizing")
            await self._records.note(batch)
        good = [outcome.as_json() for outcome in done if not outcome.failed]
        bad = [outcome.as_json() for outcome in done if outcome.failed]
        if not cancelled:
            bad += [expired_line(line.custom_id) for line in left]
        ending: Status = "cancelled" if cancelled else "expired" if left else "completed"
        batch = batch.moved(
            ending,
            output_file_id=await self._file(batch, "output", good),
            error_file_id=await self._file(batch, "error", bad),
        )
        await self._end(batch)

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

    async def _end(self, batch: Batch) -> None:
        await self._records.save(batch)
        await self._clear(batch.id)

    async def _clear(self, batch_id: str) -> None:
        """Remove what nobody needs of a batch that has ended."""
        await self._records.clear(batch_id)
        await self._claims.remove(batch_id)


def _stopped(batch: Batch) -> bool:
    return batch.status == "cancelling" or time.time() > batch.expires_at


def _counts(total: int, outcomes: list[Outcome | None]) -> Counts:
    done = [outcome for outcome in outcomes if outcome is not None]
    failed = sum(outcome.failed for outcome in done)
    return Counts(total=total, completed=len(done) - failed, failed=failed)
