"""What the hub, the network and the disk can answer, as `NotLoadable` with a reason in words.

No text of a foreign error is shown: it may hold addresses with signatures, and paths.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from engines.errors import NotLoadable
from engines.hub.reference import HubReference

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_BAD_TOKEN: Final = "Invalid credentials in Authorization header"
"""What the hub's ``X-Error-Message`` says of a token that is none; huggingface_hub tells it by this too."""
_TOKEN: Final = "HF_TOKEN, or `hf auth login`"
_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_DISK: Final = MappingProxyType(
    {
        errno.ENOSPC: "the disk that holds the hub's cache is full; what was received is kept",
        errno.EDQUOT: "the disk quota of the hub's cache is used up; what was received is kept",
        errno.EROFS: "the hub's cache lies on a disk that cannot be written to; move it with HF_HOME",
        errno.EACCES: "this user may not write to the hub's cache; move it with HF_HOME",
    }
)


@contextmanager
def translated(reference: HubReference) -> Iterator[None]:
    """Turn what huggingface_hub, httpx2 and the disk raise into `NotLoadable`, cause kept."""
    import httpx2
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except (OSError, httpx2.HTTPError, HFValidationError) as error:
        raise NotLoadable(reference.repository, _reason(error, reference)) from error


def is_busy(error: HfHubHTTPError) -> bool:
    """Whether the same request can succeed later."""
    return error.response.status_code in _BUSY


def unreachable(error: Exception) -> str | None:
    """Why there is no answer of the hub, where that is what the error says."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids to ask the hub"
    if isinstance(error, HfHubHTTPError) and is_busy(error):
        return f"the hub at {host()} is out of order or overloaded (it answers {error.response.status_code})"
    if isinstance(error, httpx2.ProxyError):
        return f"the proxy on the way to {host()} does not let the request through"
    if isinstance(error, httpx2.TimeoutException):
        return f"the hub at {host()} does not answer in time"
    if isinstance(error, httpx2.TransportError):
        return f"the hub at {host()} cannot be reached (no network?)"
    return None


def host() -> str:
    """The hub's host, of ``HF_ENDPOINT`` where it is set; without what else that address may hold."""
    from huggingface_hub import constants

    return urlsplit(constants.ENDPOINT).hostname or "huggingface.co"


def _reason(error: Exception, reference: HubReference) -> str:
    words = unreachable(error)
    if words:
        return words
    for kind, tell in _table():
        if isinstance(error, kind):
            return tell(error, reference)
    return f"it could not be fetched ({type(error).__name__})"


def _table() -> tuple[tuple[type[Exception], Callable[[Any, HubReference], str]], ...]:
    """The first class that fits decides: a gated repository's error is one of an unknown one, and so on."""
    from huggingface_hub import errors

    return (
        (errors.GatedRepoError, _gated),
        (errors.RevisionNotFoundError, lambda _, of: f"it has no revision {of.revision!r}"),
        (errors.RepositoryNotFoundError, _unknown),
        (errors.DisabledRepoError, lambda *_: "the hub has disabled it"),
        (errors.RemoteEntryNotFoundError, lambda *_: "a file that the hub lists is not there"),
        (errors.HfHubHTTPError, _refused),
        (errors.HFValidationError, lambda *_: "this is no name of a repository: it is written org/name"),
        (OSError, _of_disk),
    )


def _gated(error: HfHubHTTPError, reference: HubReference) -> str:
    page = f"https://{host()}/{reference.repository}"
    if _had_token(error):
        return f"it is gated, and the token's account has no access yet: ask for it at {page}"
    return f"it is gated: ask for access at {page}, then give a token of that account ({_TOKEN})"


def _unknown(error: HfHubHTTPError, _: HubReference) -> str:
    """The hub gives the same answer for what is not there and what may not be seen."""
    words = f"the hub at {host()} has no such repository, or it is private"
    if _had_token(error):
        return f"{words} and the token's account may not read it: check the name and the token"
    return f"{words}: check the name, and for a private one give a token that may read it ({_TOKEN})"


def _refused(error: HfHubHTTPError, reference: HubReference) -> str:
    status = error.response.status_code
    if status == 401 and error.response.headers.get("X-Error-Message") == _BAD_TOKEN:
        return f"the hub refuses the token: it is wrong or no longer valid; give another ({_TOKEN}) or none"
    if status == 401:
        return _unknown(error, reference)
    if status == 403:
        return f"the hub forbids it: the token lacks the right to read this repository ({_TOKEN})"
    return f"the hub at {host()} answers {status}"


def _had_token(error: HfHubHTTPError) -> bool:
    return "authorization" in error.response.request.headers


def _of_disk(error: OSError, _: HubReference) -> str:
    if error.errno is None:
        return f"the hub's cache cannot be read or written: {type(error).__name__}"
    return _DISK.get(error.errno, f"the hub's cache cannot be read or written: {os.strerror(error.errno)}")
