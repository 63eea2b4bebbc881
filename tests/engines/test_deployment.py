"""How many GPUs an engine reserves."""

from typing import Any

import pytest

from engines.calls import EngineOptions
from engines.deployment import SHARED_GPU, reserved_gpus

HEAD = {"Alive": True, "Resources": {"CPU": 2.0}}
ONE_GPU = {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}}
FOUR_GPUS = {"Alive": True, "Resources": {"GPU": 4.0}}
DEAD = {"Alive": False, "Resources": {"GPU": 8.0}}


@pytest.mark.parametrize(
    ("options", "nodes", "gpus"),
    [
        ({}, [HEAD], 0.0),
        ({}, [HEAD, DEAD], 0.0),
        ({}, [ONE_GPU], SHARED_GPU),
        ({}, [HEAD, ONE_GPU, ONE_GPU, DEAD], SHARED_GPU),
        ({}, [ONE_GPU, FOUR_GPUS], 1.0),
        ({"max_replicas": 2}, [ONE_GPU], 1.0),
        ({"max_replicas": 2}, [HEAD], 0.0),
        ({"device": "cuda"}, [ONE_GPU], SHARED_GPU),
        ({"device": "cpu"}, [FOUR_GPUS], 0.0),
        ({"device": "mps"}, [ONE_GPU], 0.0),
        ({"num_gpus": 0.5}, [FOUR_GPUS], 0.5),
        ({"num_gpus": 0.0}, [ONE_GPU], 0.0),
        ({"num_gpus": 2.0, "device": "cpu"}, [HEAD], 2.0),
    ],
)
def test_gpus_are_shared_where_every_node_has_one_and_whole_elsewhere(
    options: dict[str, Any], nodes: list[dict[str, Any]], gpus: float
) -> None:
    assert reserved_gpus(EngineOptions(**options), nodes) == gpus
