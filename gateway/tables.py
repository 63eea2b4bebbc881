"""The tables of the gateway's database. Times are Unix seconds."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

VERSION: Final = 1
"""Of the tables; a database of another version is not touched. A table that is new needs no other one."""

METADATA: Final = MetaData()

SCHEMA: Final = Table("kandinsky_schema", METADATA, Column("version", Integer, primary_key=True))

LEASES: Final = Table(
    "leases",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("beat", Integer, nullable=False),
    Column("process", String(200)),
)
"""The gateways that live. ``process`` lets those of the same machine see that one has died."""

JOBS: Final = Table(
    "jobs",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("status", String(16), nullable=False),
    Column("model", String(128), nullable=False),
    Column("caller", String(200), nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("request_id", String(200), nullable=False),
    Column("seed", String(20)),
    Column("turn", Integer, nullable=False),
    Column("token", String(64), unique=True),
    Column("owner", String(64)),
    Column("claims", Integer, nullable=False, default=0),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("expires_at", BigInteger, nullable=False),
    Column("phase", String(32)),
    Column("position", Integer),
    Column("progress", Float),
    Column("step", Integer),
    Column("total_steps", Integer),
    Column("preview_url", Text),
    Column("webhook", Text),
    Column("answer_status", Integer),
    Column("error", Text),
    Index("jobs_waiting", "status", "model", "turn"),
    Index("jobs_expiring", "expires_at"),
    Index("jobs_of_callers", "caller", "status"),
)

DELIVERIES: Final = Table(
    "deliveries",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("pause", Float, nullable=False),
    Index("deliveries_due", "next_at"),
)
"""Webhooks that are still to be delivered. ``pause`` is how long before ``next_at`` that was decided."""

ANSWERS: Final = Table(
    "answers",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("status", Integer),
    Column("headers", Text),
    Column("expires_at", BigInteger, nullable=False),
    Index("answers_expiring", "expires_at"),
)
"""Answers to requests with an idempotency key; without a ``status`` one is being made by its owner."""

BATCHES: Final = Table(
    "batches",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("owner", String(64)),
)
"""The batches that have not ended, and who works on them; their records are objects of the storage."""
