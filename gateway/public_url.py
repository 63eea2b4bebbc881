"""The address under which a client reached this server, for the URLs in its answers."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request

from gateway.settings import Settings


def public_url(request: Request, settings: Settings, path: str) -> str:
    """An absolute URL of ``path``.

    The setting ``public_url`` decides where it is given; else a trusted proxy's ``X-Forwarded-*``
    headers; else the request's own ``Host``.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/") + path
    base = request.base_url
    scheme, host, prefix = base.scheme, base.netloc, base.path.rstrip("/")
    if _trusted(request, settings):
        scheme = _first(request, "x-forwarded-proto") or scheme
        host = _first(request, "x-forwarded-host") or host
        prefix = _first(request, "x-forwarded-prefix").rstrip("/") or prefix
    return f"{scheme}://{host}{prefix}{path}"


def _first(request: Request, header: str) -> str:
    return request.headers.get(header, "").partition(",")[0].strip()


def _trusted(request: Request, settings: Settings) -> bool:
    if request.client is None or not settings.trusted_proxies:
        return False
    try:
        peer = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    return any(peer in ipaddress.ip_network(network) for network in settings.trusted_proxies)
