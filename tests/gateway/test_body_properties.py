"""Whatever bytes come: a body that is read, or a refusal; never a fault of the gateway's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from compat.errors import UnsupportedMediaType, render, row_of
from compat.sources import Upload
from engines.errors import InvalidRequest
from gateway.body import Body, read_body, read_form
from gateway.limits import Limits
from tests.properties import STEADY

LIMITS = Limits(body=1 << 16, file=1 << 12, pause=1)

names = st.sampled_from(["prompt", "image", "image[]", "svg[model]", "n", "file", "a[b][c]"]) | st.text(
    max_size=6
)
fragments = st.sampled_from(
    [
        b"--x\r\n",
        b"--x--\r\n",
        b"--x--",
        b"\r\n",
        b"\r\n\r\n",
        b'Content-Disposition: form-data; name="prompt"\r\n\r\na fox\r\n',
        b'Content-Disposition: form-data; name="image"; filename="a.png"\r\n',
        b"Content-Disposition: form-data; filename*=utf-8''%ff\r\n",
        b"Content-Disposition: attachment\r\n",
        b"Content-Type: image/png; charset=utf-7\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xfe\x00",
        b"+2AA-\\ud800",
    ]
)
types = st.sampled_from(
    [
        "multipart/form-data; boundary=x",
        "multipart/form-data; boundary=x; charset=utf-7",
        "multipart/form-data; boundary=x; charset=utf-16",
        "multipart/form-data; boundary=x; charset=no-such",
        "multipart/form-data; boundary=x; charset=unicode_escape",
        "multipart/form-data; boundary=x; charset=punycode",
        'multipart/form-data; boundary="x',
        "multipart/form-data; boundary=",
        "multipart/form-data",
        "Multipart/Form-Data;boundary=x",
        "application/json",
        "application/ld+json; charset=utf-16",
        "text/plain",
        "",
    ]
)


def outcome(content_type: str, chunks: list[bytes], *, form: bool = False) -> Body | InvalidRequest:
    """What becomes of a body that comes in these chunks."""

    async def read() -> Body:
        coming = iter(chunks)

        async def receive() -> dict[str, Any]:
            chunk = next(coming, None)
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

        headers = [(b"content-type", content_type.encode())]
        request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        return Body(await read_form(request, LIMITS), form=True) if form else await read_body(request, LIMITS)

    try:
        return asyncio.run(read())
    except InvalidRequest as error:
        return error


def texts(value: object) -> Iterator[str]:
    """Every text within a value."""
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from texts(each)
        case dict():
            for name, each in value.items():
                yield from (*texts(name), *texts(each))
        case Upload():
            yield from (value.filename, value.content_type)


def assert_sound(found: Body | InvalidRequest) -> None:
    """Assert that what was read can be written in an answer, and a refusal is the caller's."""
    if isinstance(found, InvalidRequest):
        assert 400 <= row_of(type(found)).status < 500
        assert orjson.dumps(render(found).body)
    else:
        for text in texts(found.fields):
            assert orjson.dumps(text)


@STEADY
@given(types, st.lists(fragments | st.binary(max_size=8), max_size=12))
def test_any_bytes_are_read_or_refused(content_type: str, chunks: list[bytes]) -> None:
    assert_sound(outcome(content_type, chunks))


@STEADY
@given(st.lists(st.tuples(names, st.binary(max_size=20), st.booleans()), max_size=6))
def test_a_form_of_odd_names_and_bytes_is_read_or_refused(parts: list[tuple[str, bytes, bool]]) -> None:
    body = b""
    for name, data, file in parts:
        plain = name.translate(dict.fromkeys(map(ord, '"\r\n')))
        extra = '; filename="a"' if file else ""
        body += f'--bnd\r\nContent-Disposition: form-data; name="{plain}"{extra}\r\n\r\n'.encode()
        body += data + b"\r\n"
    found = outcome("multipart/form-data; boundary=bnd", [body, b"--bnd--\r\n"], form=True)
    assert_sound(found)


@pytest.mark.parametrize("charset", ["utf-7", "unicode_escape", "punycode", "undefined", "utf-16", "no-such"])
def test_a_charset_that_is_not_utf_8_is_refused(charset: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n+2AA-\\ud800\r\n--x--\r\n'
    found = outcome(f"multipart/form-data; boundary=x; charset={charset}", [body])
    assert isinstance(found, UnsupportedMediaType)
    assert charset in str(found)


@pytest.mark.parametrize("charset", ["", "; charset=UTF-8", '; charset="utf-8"'])
def test_utf_8_may_be_named(charset: str) -> None:
    body = '--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nein Füchslein\r\n--x--\r\n'.encode()
    found = outcome(f"multipart/form-data; boundary=x{charset}", [body])
    assert isinstance(found, Body)
    assert found.fields == {"prompt": "ein Füchslein"}
