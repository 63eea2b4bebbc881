"""How finished pictures are handed over: inside the answer, as URLs, or both.

Clients that send no ``response_format`` read what OpenAI's model of that name sends: base64 for GPT
Image, a URL for DALL·E. For any other name some read only the one and some only the other, so both
are sent. A ``response_format`` that is given gets that one only: Open WebUI, for one, fetches a URL
wherever it sees one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from compat.errors import Unsupported
from compat.mapped import Delivery
from compat.names import is_dall_e, is_gpt_image
from compat.policy import DefaultFormat, Policy

_DELIVERIES: Final[Mapping[str, Delivery]] = MappingProxyType(
    {
        "b64_json": Delivery(b64_json=True, url=False),
        "url": Delivery(b64_json=False, url=True),
        "both": Delivery(b64_json=True, url=True),
    }
)


def delivery_for(name: str | None, response_format: str | None, policy: Policy) -> Delivery:
    """The delivery for a model's name as the caller spelled it (``None``: no name was given).

    Raises:
        Unsupported: a URL is asked for where none are served.
    """
    if response_format is None:
        wanted = _DELIVERIES[_default(name, policy.default_response_format)]
        return wanted if policy.urls else _DELIVERIES["b64_json"]
    if response_format == "url" and not policy.urls:
        raise Unsupported("response_format", "URLs are not served here. Use 'b64_json'.")
    return _DELIVERIES[response_format]


def _default(name: str | None, setting: DefaultFormat) -> str:
    if setting is not DefaultFormat.AUTO:
        return setting.value
    if is_gpt_image(name):
        return "b64_json"
    return "url" if is_dall_e(name) else "both"
