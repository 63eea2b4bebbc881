"""The schema of a model that is not loaded: from a cache, or read by a process that may import torch.

The reading runs beside the start of the cluster, and this process stays small.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from engines.card import ModelCard
from engines.identity import knowledge_key
from engines.schema import PipelineSchema
from gateway.problems import DescriptionFailed
from gateway.state import write_private

READ_SECONDS: Final = 300.0


class Description:
    """A model's schema on its way: constructing it starts the reading, `result` waits for it."""

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self._card = card
        self._file = folder / f"{knowledge_key(card)}.json"
        executor = ThreadPoolExecutor(1, thread_name_prefix="describe")
        self._schema = executor.submit(self._obtain)
        executor.shutdown(wait=False)

    def result(self) -> PipelineSchema:
        """The schema.

        Raises:
            DescriptionFailed: with the last thing that the reading process said.
        """
        return self._schema.result()

    def _obtain(self) -> PipelineSchema:
        try:
            return PipelineSchema.model_validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return self._read()

    def _read(self) -> PipelineSchema:
        name = self._card.name
        done = subprocess.run(
            # -P: nothing that lies in the working folder shadows a package.
            [sys.executable, "-P", "-m", "engines.discover"],
            input=self._card.model_dump_json().encode(),
            capture_output=True,
            timeout=READ_SECONDS,
            check=False,
        )
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        if done.returncode != 0:
            raise DescriptionFailed(f"the parameters of {name} could not be read: {said}")
        try:
            schema = PipelineSchema.model_validate_json(done.stdout)
        except ValidationError as error:
            raise DescriptionFailed(f"what was read of {name} is not a schema: {said}") from error
        write_private(self._file, done.stdout)
        return schema
