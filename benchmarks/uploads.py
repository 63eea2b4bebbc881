"""What large uploads cost the gateway in memory: bodies that wait in files against bodies kept in memory.

    .venv/bin/python benchmarks/uploads.py [--clients 20] [--megabytes 40]

Two gateways without models are started one after the other, the second one with everything in memory. Each
gets as many edits at once, a picture of that size in each (a third more as base64 in JSON). All but the last
kilobyte is sent, then the resident memory is looked at ("held"); then the rest is sent, and the peak is what
it was at most. Megabytes (2**20) beyond what the process has when it is idle.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

LAST = 1024
PIECE = 1 << 16


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--megabytes", type=int, default=40)
    parser.add_argument("--serve", choices=("files", "memory"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        await serve(given.serve)
        return
    picture = base64.b64encode(os.urandom(given.megabytes << 20)).decode()
    url = f"data:image/png;base64,{picture}"
    body = json.dumps({"model": "none", "prompt": "x", "images": [{"image_url": url}]}).encode()
    found = {how: await measured(how, body, given.clients) for how in ("files", "memory")}
    ratios = {name: round(found["files"][name] / found["memory"][name], 3) for name in found["memory"]}
    print(json.dumps({"body_mb": round(len(body) / 2**20, 1), **found, "ratio": ratios}, indent=2))


async def serve(how: str) -> None:
    """A gateway without models on a free port, which it prints."""
    import uvicorn

    from gateway import spooling
    from gateway.app import create_app
    from gateway.service import GatewayConfig, Service

    if how == "memory":
        spooling.IN_MEMORY = sys.maxsize  # type: ignore[misc]  # as if there were no files
    service = Service(connect)
    service.configure(GatewayConfig())
    config = uvicorn.Config(create_app(service), host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await serving


def connect(name: str) -> object:
    raise AssertionError(f"there is no model {name}")


async def measured(how: str, body: bytes, clients: int) -> dict[str, float]:
    async with gateway(how) as (port, process):
        await upload(port, body[:LAST] + b"x" * LAST, asyncio.Barrier(1))  # what is imported at first use
        idle = resident(process)
        barrier = asyncio.Barrier(clients + 1)
        uploads = [asyncio.create_task(upload(port, body, barrier)) for _ in range(clients)]
        await barrier.wait()
        held = resident(process)
        await barrier.wait()
        for status in await asyncio.gather(*uploads):
            assert status == 400, status  # no such model: the body was read
        return {"held_mb": round(held - idle, 1), "peak_mb": round(peak(process) - idle, 1)}


@asynccontextmanager
async def gateway(how: str) -> AsyncIterator[tuple[int, psutil.Process]]:
    command = [
        sys.executable,
        "-P",
        __file__,
        f"--serve={how}",
    ]  # -P: gateway.py beside this file is no package
    made = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert made.stdout is not None
    try:
        yield int(await made.stdout.readline()), psutil.Process(made.pid)
    finally:
        made.terminate()
        await made.wait()


async def upload(port: int, body: bytes, barrier: asyncio.Barrier) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        "POST /v1/images/edits HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    )
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode())
    for start in range(0, len(body) - LAST, PIECE):
        writer.write(body[start : min(start + PIECE, len(body) - LAST)])
        await writer.drain()
    await barrier.wait()
    await barrier.wait()
    writer.write(body[-LAST:])
    status = int((await reader.readline()).split()[1])
    await reader.read()
    writer.close()
    return status


def resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def peak(process: psutil.Process) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    asyncio.run(main())
