"""The body of one file, received so that nothing that once arrived is asked for again.

huggingface_hub 2.4 gives a download a name of its own and deletes it on failure, so it begins every file
anew after its process ended (its issue 4196); it does not try again when a connection is reset (4349).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engines.errors import NotLoadable
from engines.hub import contents, failures
from engines.hub.cache import HubFile, RepositoryCache

if TYPE_CHECKING:
    from httpx2 import Response

_PAUSES: Final = (0.2, 1.0, 3.0, 8.0, 15.0)
"""Seconds before the next attempt, after attempts that brought nothing."""
_LONGEST_PAUSE: Final = 60.0
_LARGEST_BODY: Final = 16 * 2**30
"""Larger files are asked for in parts: the hub's CDN sends no body of over 50 GB."""


class Halted(Exception):
    """Another file has failed, or the user wants an end."""


class Transfer:
    """Receives files of one repository into its cache; one object serves several threads."""

    def __init__(self, cache: RepositoryCache, commit: str) -> None:
        self._cache = cache
        self._commit = commit
        self._halted = threading.Event()

    def halt(self) -> None:
        """End every transfer at its next block."""
        self._halted.set()

    def go_on(self) -> None:
        """Raise where an end is wanted.

        Raises:
            Halted: it is.
        """
        if self._halted.is_set():
            raise Halted

    def bring(self, file: HubFile, on_size: Callable[[int], None]) -> bool:
        """Have a file in the snapshot; ``on_size`` is told how many of its bytes are there.

        Gives whether it was received now, and with that verified.

        Raises:
            NotLoadable: its content is not what the hub says, or the connection breaks again and again.
            Halted: an end is wanted.
        """
        with ExitStack() as stack:
            self._lock(stack, self._cache.lock(file))
            is_new = not self._cache.holds(self._commit, file)
            if is_new:
                partial = self._cache.partial(file)
                partial.parent.mkdir(parents=True, exist_ok=True)
                self._receive(file, partial, on_size)
                if not contents.matches(partial, file.digest, self.go_on):
                    partial.unlink()
                    raise NotLoadable(self._cache.repository, wrong_content(file))
                partial.replace(self._cache.blob(file))
            if not self._cache.pointer(self._commit, file).exists():
                self._cache.link(self._commit, file)
            return is_new

    def _lock(self, stack: ExitStack, path: Path) -> None:
        """Wait for whoever fetches the same blob, in this process or another."""
        from filelock import Timeout
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # it has no __all__

        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self.go_on()
            try:
                stack.enter_context(WeakFileLock(path, timeout=0.5))
                return
            except Timeout:
                continue

    def _receive(self, file: HubFile, partial: Path, on_size: Callable[[int], None]) -> None:
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError

        if self._cache.received(file) > file.size:
            partial.unlink()
        partial.touch()
        in_vain = 0
        while (before := self._cache.received(file)) < file.size:
            asked_to_wait = 0.0
            try:
                self._receive_some(file, partial, on_size)
                error: Exception | None = None
            except httpx2.TransportError as lost:
                error = lost
            except HfHubHTTPError as answer:
                if not failures.is_busy(answer):
                    raise
                error, asked_to_wait = answer, _asked_to_wait(answer.response)
            if self._cache.received(file) > before:
                in_vain = 0
                continue
            if in_vain == len(_PAUSES):
                raise NotLoadable(self._cache.repository, _interrupted(file, before)) from error
            self._halted.wait(max(_PAUSES[in_vain], asked_to_wait))
            self.go_on()
            in_vain += 1

    def _receive_some(self, file: HubFile, partial: Path, on_size: Callable[[int], None]) -> None:
        """One request: for the rest of a file, or for as much of it as one body may hold."""
        from huggingface_hub import constants, get_session, hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # it has no __all__
            build_hf_headers,
            hf_raise_for_status,
        )

        have = self._cache.received(file)
        headers = build_hf_headers(library_name="kandinsky-gateway", headers={"Accept-Encoding": "identity"})
        if have or file.size > _LARGEST_BODY:
            headers["Range"] = f"bytes={have}-{min(have + _LARGEST_BODY, file.size) - 1}"
        # The hub's own address each time: it answers with a signed one of its CDN, which ends to be valid.
        # httpx2 takes the token out of what goes to another host.
        url = hf_hub_url(self._cache.repository, file.path, revision=self._commit)
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
            if response.status_code != 416:
                hf_raise_for_status(response)
            if response.status_code == 416 or _whole_size(response) not in (None, file.size):
                partial.unlink()
                raise NotLoadable(self._cache.repository, wrong_content(file))
            goes_on = response.status_code == 206
            have = have if goes_on else 0
            with partial.open("ab" if goes_on else "wb") as body:
                # As they come: with a size, what is short of a whole block is lost when the connection is.
                for block in response.iter_bytes():
                    self.go_on()
                    body.write(block)
                    have += len(block)
                    on_size(have)


def wrong_content(file: HubFile) -> str:
    """The reason to refuse a file that is not what the hub says."""
    return (
        f"{file.path} is not the file that the hub lists: its size or its hash is wrong. It was removed "
        "from the cache; try again, and if that does not help ask who runs the network or the mirror"
    )


def _interrupted(file: HubFile, have: int) -> str:
    return (
        f"the download of {file.path} broke off {len(_PAUSES) + 1} times without a byte more, at {have} of "
        f"{file.size} bytes; what was received is kept, and the next attempt goes on from there"
    )


def _whole_size(response: Response) -> int | None:
    """The size of the whole file, which a partial answer states after a slash."""
    if response.status_code == 206:
        stated = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isdecimal() else None


def _asked_to_wait(response: Response) -> float:
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), _LONGEST_PAUSE) if seconds.isdecimal() else 0.0
