"""Calls that are answered later: taken on or refused, drawn in turn, followed, cancelled, fetched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import fsspec
import httpx2
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from starlette.datastructures import Headers

from gateway.app import create_app
from gateway.preferences import Preferences, preferences
from gateway.remotes import RemoteEntry
from gateway.service import GatewayConfig, Service
from tests.gateway import in_process
from tests.gateway.alone import alone
from tests.gateway.elsewhere import Elsewhere
from tests.gateway.later import (
    ASYNC,
    ENDLESS,
    GENERATIONS,
    NATIVE,
    QUICK,
    gateway,
    reached,
    submitted,
)
from tests.gateway.test_edit_routes import mask, png
from tests.gateway.wire import assert_error, picture

pytestmark = pytest.mark.anyio

BAD = "invalid_request_error"


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with gateway() as (_, made):
        yield made


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("respond-async", Preferences(True)),
        ("Respond-Async, wait=10", Preferences(True, 10)),
        ('foo="a, respond-async", wait="3"', Preferences(False, 3)),
        ("return=minimal; x=y , respond-async;", Preferences(True)),
        ("wait=-1, respond-async", Preferences(True)),
        ('",,"', Preferences()),
    ],
)
def test_preferences_are_read_as_the_standard_says(given: str, wanted: Preferences) -> None:
    assert preferences(Headers({"prefer": given})) == wanted


async def test_call_is_answered_with_a_job_and_its_result_is_that_of_the_call(
    client: httpx2.AsyncClient,
) -> None:
    answer = await client.post(GENERATIONS, json=QUICK | {"model": "demo"}, headers=ASYNC)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["endpoint"], job["seed"], job["position"]) == ("queued", GENERATIONS, 5, 0)
    done = await reached(client, job)
    assert (done["status"], done["step"], done["total_steps"], done["progress"]) == ("completed", 2, 2, 1.0)
    at_once = (await client.post(GENERATIONS, json=QUICK | {"model": "demo"})).json()
    assert set(done["result"]) == set(at_once)
    assert done["result"]["data"][0]["b64_json"] == at_once["data"][0]["b64_json"]
    alone = await client.get(done["result_url"])
    assert (alone.status_code, alone.json()) == (200, done["result"])


async def test_native_call_too(client: httpx2.AsyncClient) -> None:
    done = await reached(client, await submitted(client, QUICK | {"partial_images": 1}, NATIVE))
    assert picture(done["result"]["image"]).size == (128, 128)
    assert (await client.get(done["preview_url"])).headers["content-type"] == "image/png"
    at_once = (await client.post(NATIVE, json=QUICK)).json()
    assert done["result"]["image"] == at_once["image"]


async def test_form_and_pictures_behind_urls(client: httpx2.AsyncClient) -> None:
    parts = {"image": ("a.png", png()), "mask": ("m.png", mask())}
    form = {"prompt": "x", "num_inference_steps": "2", "response_format": "url", "partial_images": "1"}
    answer = await client.post("/v1/images/edits", data=form, files=parts, headers=ASYNC)
    done = await reached(client, answer.json())
    assert done["result"]["ignored"] == []
    assert (await client.get(done["preview_url"])).status_code == 200
    assert (await client.get(done["result"]["data"][0]["url"])).headers["content-type"] == "image/png"


async def test_what_would_be_refused_is_refused_at_once(client: httpx2.AsyncClient) -> None:
    asked: tuple[tuple[str, dict[str, Any]], ...] = (
        (GENERATIONS, {"prompt": "x", "n": 0}),
        (GENERATIONS, {"prompt": "x", "model": 3}),
        ("/v1/images/edits", {"prompt": "x", "images": [{"image_url": "data:image/png;base64,AAAA"}]}),
        (NATIVE, {"prompt": "x", "stepz": 3}),
        ("/kandinsky-foo/v1/generate", {"prompt": "x"}),
    )
    for path, body in asked:
        later, at_once = [await client.post(path, json=body, headers=each) for each in (ASYNC, {})]
        assert (later.status_code, later.json()) == (at_once.status_code, at_once.json())
        assert at_once.status_code in (400, 404)
    assert (await client.get("/v1/jobs")).json()["data"] == []


async def test_answer_that_comes_within_the_wait_is_the_answer(client: httpx2.AsyncClient) -> None:
    answer = await client.post(NATIVE, json=QUICK, headers={"prefer": "respond-async, wait=50"})
    assert answer.status_code == 200
    assert answer.json()["status"] == "success"
    assert answer.headers["preference-applied"] == "respond-async, wait=50"
    answer = await client.post(NATIVE, json=ENDLESS, headers={"prefer": "respond-async, wait=1"})
    assert answer.status_code == 202
    assert answer.json()["status"] == "in_progress"


async def test_stream_is_a_stream(client: httpx2.AsyncClient) -> None:
    for path in (GENERATIONS, NATIVE):
        answer = await client.post(path, json=QUICK | {"stream": True}, headers=ASYNC)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "preference-applied" not in answer.headers


async def test_cancelled_job_stops_and_gives_the_next_its_turn(client: httpx2.AsyncClient) -> None:
    running = await submitted(client, ENDLESS)
    ready = await submitted(client, ENDLESS)
    waiting = await submitted(client, QUICK)
    await reached(client, running, "in_progress")
    await reached(client, ready, "in_progress")
    assert (await client.get(f"/v1/jobs/{waiting['id']}")).json()["position"] == 0
    told = await client.post(f"/v1/jobs/{running['id']}/cancel")
    assert (told.json()["status"], told.json()["result"]) == ("cancelled", None)
    deleted = await client.delete(f"/v1/jobs/{ready['id']}")
    assert deleted.json() == {"id": ready["id"], "object": "job", "deleted": True}
    assert (await reached(client, waiting))["status"] == "completed"
    again = await client.post(f"/v1/jobs/{running['id']}/cancel")
    assert_error(again, 409, type=BAD, code=None, param=None)
    assert (await client.get(f"/v1/jobs/{running['id']}/result")).status_code == 202


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/result"), ("POST", "/cancel"), ("DELETE", "")]
)
async def test_unknown_job_is_not_found(client: httpx2.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, f"/v1/jobs/job_none{path}")
    assert_error(answer, 404, type=BAD, code=None, param="job_id")


async def test_jobs_are_listed_in_pages(client: httpx2.AsyncClient) -> None:
    made = [(await submitted(client, QUICK))["id"] for _ in range(3)]
    first = (await client.get("/v1/jobs?limit=2")).json()
    rest = (await client.get(f"/v1/jobs?after={first['last_id']}")).json()
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert [job["id"] for job in first["data"] + rest["data"]] == made[::-1]
    assert "result" not in first["data"][0]
    assert_error(await client.get("/v1/jobs?after=x"), 400, type=BAD, code="invalid_value", param="after")


async def test_caller_with_a_key_sees_its_own_jobs_alone() -> None:
    one, two = ({"authorization": f"Bearer {key}"} for key in ("one", "two"))
    async with gateway(api_keys=["one", "two"]) as (_, client):
        job = await submitted(client, ENDLESS, **one)
        path = f"/v1/jobs/{job['id']}"
        for method, place in (
            ("GET", path),
            ("GET", f"{path}/result"),
            ("POST", f"{path}/cancel"),
            ("DELETE", path),
        ):
            assert (await client.request(method, place, headers=two)).status_code == 404
        assert (await client.get("/v1/jobs", headers=two)).json()["data"] == []
        assert (await client.get(f"/v1/jobs?after={job['id']}", headers=two)).status_code == 400
        assert [each["id"] for each in (await client.get("/v1/jobs", headers=one)).json()["data"]] == [
            job["id"]
        ]
        assert (await client.delete(path, headers=one)).status_code == 200


async def test_job_that_fails_says_what_the_call_would_have_said(client: httpx2.AsyncClient) -> None:
    job = await submitted(client, ENDLESS | {"timeout": 0.2})
    failed = await reached(client, job)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "deadline_exceeded")
    answer = await client.get(failed["result_url"])
    assert (answer.status_code, answer.json()) == (504, {"error": failed["error"]})


async def test_job_goes_on_after_a_restart_with_the_same_seed(tmp_path: Path) -> None:
    slow = {"prompt": "hills", "num_inference_steps": 20}
    async with gateway(tmp_path) as (_, client):
        jobs = [await submitted(client, slow) for _ in range(2)]
        assert None not in [job["seed"] for job in jobs]
        await reached(client, jobs[0], "in_progress")
    async with gateway(tmp_path) as (service, client):
        done = [await reached(client, job) for job in jobs]
        assert [job["status"] for job in done] == ["completed"] * 2
        assert [job["result"]["data"][0]["seed"] for job in done] == [job["seed"] for job in jobs]
        assert (await service.jobs.get(jobs[0]["id"])).claims == 2


async def test_job_goes_on_when_its_gateway_was_killed(tmp_path: Path) -> None:
    slow = {"prompt": "hills", "num_inference_steps": 20}
    with alone(tmp_path) as (process, url):
        async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
            key = {"idempotency-key": "a key"}
            jobs = [await submitted(client, slow, **key), await submitted(client, QUICK)]
            with anyio.fail_after(60):
                while not jobs[0]["step"]:
                    jobs[0] = (await client.get(f"/v1/jobs/{jobs[0]['id']}")).json()
        process.kill()
        process.wait()
    async with gateway(tmp_path) as (service, client):
        assert (await submitted(client, slow, **key))["id"] == jobs[0]["id"]
        for job in jobs:
            done = await reached(client, job)
            assert done["status"] == "completed"
            assert done["result"]["data"][0]["seed"] == job["seed"]
        assert (await service.jobs.get(jobs[0]["id"])).claims == 2


async def test_what_nobody_needs_any_more_is_removed(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (_, client):
        done = await reached(client, await submitted(client, QUICK))
        forgotten = await reached(client, await submitted(client, ENDLESS), "in_progress")
        assert (await client.delete(f"/v1/jobs/{forgotten['id']}")).status_code == 200
        with anyio.fail_after(30):
            while kept(tmp_path) != {f"{done['id']}/answer"}:
                await anyio.sleep(0.01)


def kept(folder: Path) -> set[str]:
    """What lies in the storage of jobs."""
    root = folder / "storage" / "jobs"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


async def test_two_gateways_draw_every_job_once(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (one, client), gateway(tmp_path) as (other, _):
        other.jobs.start()
        jobs = [await submitted(client, QUICK) for _ in range(8)]
        for job in jobs:
            assert (await reached(client, job))["status"] == "completed"
            assert (await one.jobs.get(job["id"])).claims == 1


async def test_job_cancelled_at_another_gateway_is_dropped(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (one, client), gateway(tmp_path) as (other, there):
        job = await submitted(client, ENDLESS)
        await reached(client, job, "in_progress")
        assert (await there.get(f"/v1/jobs/{job['id']}")).json()["status"] == "in_progress"
        await other.jobs.cancel(job["id"])
        with anyio.fail_after(30):
            while one.status("demo").active_requests:
                await anyio.sleep(0.01)
        assert (await there.get(f"/v1/jobs/{job['id']}")).json()["status"] == "cancelled"


class FullDisk(MemoryFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """A storage in which there is no room for answers."""

    protocol = "full"
    store: dict[str, Any] = {}

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if "/answer" in path:
            raise OSError(28, "No space left on device")
        super().pipe_file(path, value, mode=mode, **kwargs)


async def test_result_that_cannot_be_stored_ends_the_job() -> None:
    fsspec.register_implementation("full", FullDisk, clobber=True)
    async with gateway(storage_url="full://gateway") as (_, client):
        failed = await reached(client, await submitted(client, QUICK))
        assert (failed["status"], failed["error"]["code"]) == ("failed", "storage_failed")
        assert "No space left on device" in failed["error"]["message"]
        assert (await client.get(failed["result_url"])).status_code == 507


async def test_database_that_does_not_answer_is_a_failure_of_the_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    async with gateway(database_url=f"sqlite:///{tmp_path}/file/x.db") as (_, client):
        for answer in (
            await client.post(NATIVE, json=QUICK, headers=ASYNC),
            await client.post(NATIVE, json=QUICK, headers={"idempotency-key": "k"}),
            await client.get("/v1/jobs"),
        ):
            assert_error(answer, 507, type="server_error", code="storage_failed", param=None)


async def test_job_of_another_servers_model() -> None:
    elsewhere = Elsewhere()
    service = Service(in_process.no_engine, reach=elsewhere.reach)
    service.configure(
        GatewayConfig(remotes=(RemoteEntry(name="far", base_url="http://far/v1", model="big"),))
    )

    transport = httpx2.ASGITransport(app=create_app(service))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as client:
        form = {"prompt": "x", "model": "far"}
        parts = {"image": ("a.png", png(), "image/png")}
        answer = await client.post("/v1/images/edits", data=form, files=parts, headers=ASYNC)
        done = await reached(client, answer.json())
        assert done["result"]["data"] == [{"b64_json": "AAAA"}]
        assert png() in elsewhere.asked[-1].content
        elsewhere.refuses(400, message="too rude")
        failed = await reached(client, await submitted(client, form))
        assert failed["error"]["message"] == "too rude"
    await service.close_remotes()
    service.close()
    await service._keeping.settled()
