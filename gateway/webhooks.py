"""Webhooks: the end of a job told to an address, signed as the Standard Webhooks specification says.

What is to be delivered is written down in the transaction that ends the job, and stays until it is delivered
or given up, so no end of a process loses it. Before every try the next one is put off in the database: a
gateway that dies in between leaves the delivery to the next, and two never try at once.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import httpx2
from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engines.errors import InvalidParameter, StorageFailed
from gateway.addresses import Guard, Lookup, Refusal, system_lookup
from gateway.database import Database
from gateway.rounds import Rounds
from gateway.settings import SECRET_PREFIX, Settings
from gateway.tables import DELIVERIES

_logger = logging.getLogger(__name__)

HEADER: Final = "x-kandinsky-webhook"
"""The request's header that names the address."""

PAUSES: Final = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0)
"""Seconds between the tries of a delivery; after the last it is given up, 18 hours after the first."""
SPREAD: Final = 0.1
"""Part of a pause by which it is lengthened at random."""
SEND_SECONDS: Final = 15.0
AT_ONCE: Final = 16
TO_ONE: Final = 2
"""Deliveries at once to one host and port: a receiver that takes its time delays nobody but itself."""
READ_AT_ONCE: Final = 500
POLL_SECONDS: Final = 5.0
GONE: Final = 410
"""The receiver wants no more."""


@dataclass(frozen=True)
class Delivery:
    """One event that is to reach one address; ``attempts`` were made before."""

    id: str
    url: str
    body: str
    attempts: int

    @property
    def receiver(self) -> str:
        """Scheme, host and port of the address."""
        url = httpx2.URL(self.url)
        return f"{url.scheme}://{url.netloc.decode()}"


def signature(secrets: Sequence[str], delivery: Delivery, timestamp: int) -> str:
    """The ``webhook-signature`` header: one signature for each secret, so that secrets can be replaced."""
    signed = f"{delivery.id}.{timestamp}.{delivery.body}".encode()
    keys = (base64.b64decode(secret.removeprefix(SECRET_PREFIX)) for secret in secrets)
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


class Webhooks:
    """Delivers what is in the database. ``settings`` is asked every time; ``clock`` gives Unix seconds."""

    def __init__(
        self,
        database: Database,
        settings: Callable[[], Settings],
        *,
        lookup: Lookup = system_lookup,
        clock: Callable[[], float] = time.time,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._database = database
        self._settings = settings
        self._lookup = lookup
        self._clock = clock
        self._pauses = pauses
        self._trying: dict[asyncio.Task[None], Delivery] = {}
        self._rounds = Rounds("webhooks", self._work, seconds=POLL_SECONDS)

    def start(self) -> None:
        """Begin to deliver."""
        self._rounds.start()

    def close(self) -> None:
        """Stop; what is not delivered yet stays."""
        self._rounds.close()
        for task in self._trying:
            task.cancel()

    def look(self) -> None:
        """There may be something to deliver."""
        self._rounds.look()

    async def check(self, url: str) -> None:
        """Refuse an address that nothing is delivered to.

        Raises:
            InvalidParameter
        """
        if not self._settings().webhook_secrets:
            raise InvalidParameter(HEADER, "this server signs no webhooks: its operator has set no secret.")
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            raise InvalidParameter(HEADER, "not a valid address.") from None
        if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo:
            raise InvalidParameter(
                HEADER, "expected an address that starts with https:// or http://, without a password."
            )
        way = await self._guard().destination(parsed)
        if isinstance(way, Refusal):
            raise InvalidParameter(HEADER, f"{way}.")

    def _guard(self) -> Guard:
        return Guard(self._settings().webhook_networks, self._lookup)

    async def _work(self) -> None:
        """Begin what is due, as far as there is room for it; what ends looks for more."""
        begun: set[str] = set()
        while len(self._trying) < AT_ONCE and (due := await self._due(begun)):
            before = len(begun)
            for delivery in due:
                if len(self._trying) < AT_ONCE and self._sent_to()[delivery.receiver] < TO_ONE:
                    self._begin(delivery)
                    begun.add(delivery.id)
            if len(begun) == before:
                return

    def _begin(self, delivery: Delivery) -> None:
        def over(task: asyncio.Task[None]) -> None:
            del self._trying[task]
            if not task.cancelled() and (error := task.exception()) is not None:
                # It is looked for again by a later round, as everything that is left.
                known = isinstance(error, StorageFailed)
                _logger.warning(
                    "%s waits for a later try: %s", delivery.id, error, exc_info=None if known else error
                )
            else:
                self.look()

        task = asyncio.create_task(self._try(delivery))
        self._trying[task] = delivery
        task.add_done_callback(over)

    def _sent_to(self) -> Counter[str]:
        """How many deliveries are on their way to each receiver."""
        return Counter(delivery.receiver for delivery in self._trying.values())

    async def _due(self, begun: Collection[str]) -> list[Delivery]:
        """The oldest of what is due, without what was ``begun`` or goes to a receiver that is busy."""
        now = self._clock()
        trying = {*begun, *(delivery.id for delivery in self._trying.values())}
        full = [receiver for receiver, count in self._sent_to().items() if count >= TO_ONE]

        async def look(connection: AsyncConnection) -> list[Delivery]:
            # What was put off in the future was put off before the clock was set back.
            due = or_(DELIVERIES.c.next_at <= now, DELIVERIES.c.next_at - DELIVERIES.c.pause > now + 1)
            columns = (DELIVERIES.c.id, DELIVERIES.c.url, DELIVERIES.c.body, DELIVERIES.c.attempts)
            elsewhere = (~_goes_to(receiver) for receiver in full)
            wanted = select(*columns).where(due, DELIVERIES.c.id.not_in(trying), *elsewhere)
            return [
                Delivery(*row)
                for row in await connection.execute(wanted.order_by(DELIVERIES.c.next_at).limit(READ_AT_ONCE))
            ]

        return await self._database.read(look)

    async def _try(self, delivery: Delivery) -> None:
        failure: str | None = "its last try was cut off"
        if delivery.attempts <= len(self._pauses):
            if not await self._put_off(delivery):
                return
            failure = await self._send(delivery)
        if failure is None:
            _logger.info("%s was delivered", delivery.id)
        elif delivery.attempts < len(self._pauses):
            _logger.info("%s: try %d: %s", delivery.id, delivery.attempts + 1, failure)
            return
        else:
            _logger.warning("%s is given up: %s", delivery.id, failure)
        await self._database.write(
            lambda c: c.execute(delete(DELIVERIES).where(DELIVERIES.c.id == delivery.id))
        )

    async def _put_off(self, delivery: Delivery) -> bool:
        """Take this try; no where another gateway was quicker."""
        usual = [*self._pauses, self._pauses[-1]][delivery.attempts]
        pause = SEND_SECONDS + usual * (1 + SPREAD * random.random())
        later = {
            "attempts": delivery.attempts + 1,
            "pause": pause,
            "next_at": self._clock() + pause,
        }
        mine = update(DELIVERIES).where(
            DELIVERIES.c.id == delivery.id, DELIVERIES.c.attempts == delivery.attempts
        )
        done = await self._database.write(lambda c: c.execute(mine.values(**later)))
        return bool(done.rowcount)

    async def _send(self, delivery: Delivery) -> str | None:
        """Post an event; returns why it did not arrive, if it did not."""
        parsed = httpx2.URL(delivery.url)
        way = await self._guard().destination(parsed)
        if isinstance(way, Refusal):
            return way.value
        timestamp = int(self._clock())
        headers = {
            **way.headers,
            "content-type": "application/json",
            "user-agent": "kandinsky-gateway",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._settings().webhook_secrets, delivery, timestamp),
        }
        try:
            async with (
                asyncio.timeout(SEND_SECONDS),
                httpx2.AsyncClient(trust_env=False, timeout=SEND_SECONDS) as client,
                client.stream(
                    "POST",
                    way.url,
                    content=delivery.body.encode(),
                    headers=headers,
                    extensions=dict(way.extensions),
                    follow_redirects=False,
                ) as answer,
            ):
                # Nothing of the body is read: the status is all that counts.
                if answer.is_success or answer.status_code == GONE:
                    return None
                return f"the receiver answered with status {answer.status_code}"
        except (httpx2.HTTPError, OSError, TimeoutError) as error:
            return f"the receiver cannot be reached ({type(error).__name__})"


def _goes_to(receiver: str) -> ColumnElement[bool]:
    """Whether a delivery's address is that of this receiver, as far as it is written in the usual way."""
    url = DELIVERIES.c.url
    return or_(url == receiver, *(url.startswith(receiver + mark, autoescape=True) for mark in "/?#"))
