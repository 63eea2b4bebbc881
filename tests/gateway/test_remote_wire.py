"""What goes over the wire to another server, and what becomes of its answers."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from compat.mapped import Operation
from gateway.app import create_app
from gateway.remote_calls import ImagesCall
from gateway.remotes import RemoteEntry, RemoteKey
from gateway.service import GatewayConfig, Service
from tests.gateway import in_process
from tests.gateway.elsewhere import Elsewhere
from tests.gateway.test_edit_routes import png
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

KEY = "sk-their-secret"
BASE = "http://images.internal:9000/v1"
SERVER_ERROR = "server_error"


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def entry(tmp_path: Path) -> RemoteEntry:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    return RemoteEntry(
        name="far", base_url=BASE, model="theirs", key=RemoteKey(file=str(file)), aliases=("away",)
    )


@pytest.fixture
async def client(elsewhere: Elsewhere, entry: RemoteEntry) -> AsyncIterator[httpx2.AsyncClient]:
    service = Service(in_process.no_engine, elsewhere.reach)
    service.configure(GatewayConfig(remotes=(entry,)))
    transport = httpx2.ASGITransport(app=create_app(service), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as made:
        yield made
    await service.close_remotes()
    service.close()


async def draw(client: httpx2.AsyncClient, **fields: Any) -> httpx2.Response:
    body = {"model": "far", "prompt": "the sea"} | fields
    return await client.post("/v1/images/generations", json=body, headers={"authorization": "Bearer callers"})


async def test_the_body_passes_with_the_model_replaced(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    await draw(client, model="away", n=2, size=None, num_inference_steps=7, odd={"a": [1]})
    [asked] = elsewhere.asked
    assert str(asked.url) == f"{BASE}/images/generations"
    expected = {"model": "theirs", "prompt": "the sea", "n": 2, "size": None, "odd": {"a": [1]}}
    assert json.loads(asked.content) == expected | {"num_inference_steps": 7}


async def test_the_other_server_gets_its_own_key_and_not_the_callers(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    answer = await draw(client)
    [asked] = elsewhere.asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["x-client-request-id"] == answer.headers["x-request-id"]
    assert "callers" not in str(asked.headers)


async def test_an_account_of_the_environment_stays_here(
    elsewhere: Elsewhere, entry: RemoteEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-ours")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-ours")
    server = elsewhere.reach(entry)
    await server.images(ImagesCall(Operation.GENERATION, {"prompt": "x"}))
    await server.close()
    assert "ours" not in str(elsewhere.asked[0].headers)


async def test_a_key_that_was_replaced_is_the_one_used(
    client: httpx2.AsyncClient, elsewhere: Elsewhere, entry: RemoteEntry
) -> None:
    assert entry.key is not None
    Path(str(entry.key.file)).write_text("sk-new")
    await draw(client)
    assert elsewhere.asked[0].headers["authorization"] == "Bearer sk-new"


async def test_usage_urls_and_extra_keys_pass(client: httpx2.AsyncClient, elsewhere: Elsewhere) -> None:
    theirs = {"created": 5, "data": [{"url": "https://pictures/1.png", "revised_prompt": "a sea"}]}
    theirs |= {"usage": {"total_tokens": 3}, "odd": True, "compute_metrics": {"steps": 9}}
    elsewhere.answers(200, theirs)
    assert (await draw(client)).json() == theirs | {"model": "far"}


async def test_the_time_it_took_is_told_where_the_other_server_tells_nothing(
    client: httpx2.AsyncClient,
) -> None:
    answer = (await draw(client)).json()
    assert answer["model"] == "far"
    assert list(answer["compute_metrics"]) == ["query_duration_seconds"]
    assert answer["compute_metrics"]["query_duration_seconds"] > 0


@pytest.mark.parametrize("status", [400, 402, 409, 413, 422, 429])
async def test_a_refusal_is_passed_on(client: httpx2.AsyncClient, elsewhere: Elsewhere, status: int) -> None:
    elsewhere.refuses(status, message="no such size", type="their_type", param="size", code="their_code")
    message = assert_error(await draw(client), status, type="their_type", code="their_code", param="size")
    assert message == "no such size"


@pytest.mark.parametrize("status", [500, 503, 507])
async def test_a_failure_is_passed_on_and_is_no_fault_of_the_caller(
    client: httpx2.AsyncClient, elsewhere: Elsewhere, status: int
) -> None:
    elsewhere.refuses(status, message="broken", type="invalid_request_error", code="their_code")
    assert_error(await draw(client), status, type=SERVER_ERROR, code="their_code", param=None)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("7", "7"), ("0", "1"), ("500", "60"), ("2.5", "3"), ("Wed, 21 Oct 2026", None)]
)
async def test_retry_after_stays_within_what_clients_honour(
    client: httpx2.AsyncClient, elsewhere: Elsewhere, theirs: str, ours: str | None
) -> None:
    elsewhere.answers(429, {"error": {"message": "slow down"}}, Retry_After=theirs)
    answer = await draw(client)
    assert answer.status_code == 429
    assert answer.headers.get("retry-after") == ours


async def test_whether_to_repeat_is_passed_on(client: httpx2.AsyncClient, elsewhere: Elsewhere) -> None:
    elsewhere.answers(503, {"error": {"message": "never"}}, x_should_retry="false")
    assert (await draw(client)).headers["x-should-retry"] == "false"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_no_fault_of_the_callers_key(
    client: httpx2.AsyncClient, elsewhere: Elsewhere, status: int
) -> None:
    elsewhere.refuses(status, message=f"Incorrect API key provided: {KEY}.", code="invalid_api_key")
    answer = await draw(client)
    message = assert_error(answer, 502, type=SERVER_ERROR, code="remote_key_refused", param=None)
    assert "sk-" not in message
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("status", [404, 405])
async def test_a_model_that_the_other_server_lacks_is_no_fault_of_the_caller(
    client: httpx2.AsyncClient, elsewhere: Elsewhere, status: int
) -> None:
    elsewhere.refuses(status, message="The model 'theirs' does not exist")
    message = assert_error(await draw(client), 501, type=SERVER_ERROR, code="remote_not_served", param=None)
    assert "theirs" not in message


async def test_a_missing_key_is_told_before_anything_is_sent(
    client: httpx2.AsyncClient, elsewhere: Elsewhere, entry: RemoteEntry
) -> None:
    assert entry.key is not None
    Path(str(entry.key.file)).unlink()
    message = assert_error(await draw(client), 500, type=SERVER_ERROR, code="remote_key_missing", param=None)
    assert str(entry.key.file) not in message
    assert not elsewhere.asked


async def test_neither_key_nor_address_is_told_to_the_caller(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    elsewhere.refuses(400, message=f"{BASE}: bad header Bearer {KEY} at images.internal")
    text = (await draw(client)).text
    assert KEY not in text
    assert "internal" not in text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"detail": "nope"}, "nope"),
        ({"error": "nope"}, "nope"),
        ({"error": {"message": "nope"}}, "nope"),
        ({}, "The server behind 'far' answered with status 400."),
        (["x"], "The server behind 'far' answered with status 400."),
    ],
)
async def test_an_error_of_another_shape_becomes_openais(
    client: httpx2.AsyncClient, elsewhere: Elsewhere, body: object, message: str
) -> None:
    elsewhere.answers(400, body)
    answer = await draw(client)
    assert assert_error(answer, 400, type="invalid_request_error", code=None, param=None) == message


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text="<html>a login page</html>", headers={"content-type": "text/html"}),
        httpx2.Response(200, content=b'{"data": [', headers={"content-type": "application/json"}),
        httpx2.Response(200, json={"status": "loading"}),
        httpx2.Response(200, json=[]),
    ],
)
async def test_what_is_no_answer_is_not_passed_on(
    client: httpx2.AsyncClient, elsewhere: Elsewhere, answer: httpx2.Response
) -> None:
    elsewhere.respond = lambda _: answer
    assert_error(await draw(client), 502, type=SERVER_ERROR, code="remote_bad_answer", param=None)


async def test_a_server_that_is_down_can_be_tried_later(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    elsewhere.raises(httpx2.ConnectError("refused"))
    answer = await draw(client)
    assert_error(answer, 503, type="service_unavailable_error", code="remote_unreachable", param=None)
    assert 1 <= int(answer.headers["retry-after"]) <= 60


async def test_a_server_that_is_too_slow_is_not_asked_again(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    elsewhere.raises(httpx2.ReadTimeout("slow"))
    answer = await draw(client)
    assert_error(answer, 504, type=SERVER_ERROR, code="remote_timeout", param=None)
    assert answer.headers["x-should-retry"] == "false"
    assert len(elsewhere.asked) == 1


async def test_a_stream_that_is_refused_is_a_plain_answer(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    elsewhere.refuses(400, message="Streaming is only supported with n=1.", type="t")
    assert_error(await draw(client, stream=True, n=2), 400, type="t", code=None, param=None)


async def test_a_server_that_does_not_stream_is_not_taken_for_an_empty_stream(
    client: httpx2.AsyncClient,
) -> None:
    answer = await draw(client, stream=True)
    assert_error(answer, 502, type=SERVER_ERROR, code="remote_bad_answer", param=None)


async def test_the_model_is_listed_as_another_servers(client: httpx2.AsyncClient) -> None:
    [far, away] = (await client.get("/v1/models")).json()["data"]
    assert (far["id"], far["owned_by"], far["state"]) == ("far", "remote", "remote")
    assert (away["id"], away["root"]) == ("away", "far")
    [row] = (await client.get("/models")).json()["models"]
    assert (row["model_id"], row["state"], row["family"]) == ("far", "remote", None)
    assert "internal" not in str((far, away, row))


@pytest.mark.parametrize(("method", "path"), [("GET", "schema"), ("POST", "generate")])
async def test_a_server_of_another_kind_has_no_native_routes(
    client: httpx2.AsyncClient, elsewhere: Elsewhere, method: str, path: str
) -> None:
    elsewhere.refuses(404)
    body = {"json": {"prompt": "x"}} if method == "POST" else {}
    answer = await client.request(method, f"/kandinsky-far/v1/{path}", **body)  # type: ignore[arg-type]  # a body or none
    message = assert_error(
        answer, 404, type="invalid_request_error", code="native_routes_absent", param="model"
    )
    assert "/v1/images/generations" in message


async def test_health_of_a_server_of_another_kind_says_that_it_is_remote(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    elsewhere.refuses(404)
    assert (await client.get("/kandinsky-far/v1/health")).json()["state"] == "remote"


async def test_a_file_that_is_stored_here_is_sent_on_as_a_picture(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    files = {"file": ("a.png", png())}
    stored = (await client.post("/v1/files", data={"purpose": "vision"}, files=files)).json()
    pictures = [{"file_id": stored["id"]}, {"image_url": "https://pictures/1.png"}]
    body = {"model": "far", "prompt": "x", "images": pictures, "mask": pictures[0]}
    assert (await client.post("/v1/images/edits", json=body)).status_code == 200
    sent = json.loads(elsewhere.asked[0].content)
    uri = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    assert sent["images"] == [{"image_url": uri}, pictures[1]]
    assert sent["mask"] == {"image_url": uri}


async def test_a_picture_of_a_form_is_sent_on_with_its_true_type(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    files = [("image[]", ("upload", png(), "application/octet-stream"))] * 2
    await client.post("/v1/images/edits", data={"model": "far", "prompt": "x", "n": "2"}, files=files)
    [asked] = elsewhere.asked
    assert str(asked.url) == f"{BASE}/images/edits"
    assert asked.content.count(b'name="image[]"; filename="upload"\r\nContent-Type: image/png') == 2
    assert b'name="model"\r\n\r\ntheirs\r\n' in asked.content
    assert b'name="n"\r\n\r\n2\r\n' in asked.content


async def test_a_variation_is_sent_on(client: httpx2.AsyncClient, elsewhere: Elsewhere) -> None:
    files = {"image": ("a.png", png(), "image/png")}
    answer = await client.post("/v1/images/variations", data={"model": "far"}, files=files)
    assert answer.json()["model"] == "far"
    assert str(elsewhere.asked[0].url) == f"{BASE}/images/variations"
    assert b'name="image"; filename="a.png"' in elsewhere.asked[0].content
