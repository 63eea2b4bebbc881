"""The address under which a client reached this server, for the URLs in its answers."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request

from gateway.peers import trusted
from gateway.settings import Settings

_SCHEME: Final = re.compile(r"https?")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+/?")


def public_url(request: Request, settings: Settings, path: str) -> str:
    """An absolute URL of ``path``.

    The setting ``public_url`` decides where it is given; else a trusted proxy's ``X-Forwarded-*``
    headers; else the request's own ``Host``.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/") + path
    base = request.base_url
    scheme, host, prefix = base.scheme, base.netloc, base.path.rstrip("/")
    if request.client is not None and trusted(request.client.host, settings):
        scheme = _first(request, "x-forwarded-proto", _SCHEME) or scheme
        host = _first(request, "x-forwarded-host", _HOST) or host
        prefix = _first(request, "x-forwarded-prefix", _PREFIX).rstrip("/") or prefix
    return f"{scheme}://{host}{prefix}{path}"


def _first(request: Request, header: str, form: re.Pattern[str]) -> str:
    """The value that the proxy nearest to the client has set; empty where it is none."""
    value = request.headers.get(header, "").partition(",")[0].strip()
    return value if form.fullmatch(value) else ""
