"""Tensors are read out of pickles without unpickling them, and are those that torch would give."""

from __future__ import annotations

import argparse
import datetime
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.conversion.inert_reading import read_inert
from engines.conversion.reading import open_tensors
from engines.errors import NotLoadable
from engines.formats import weights
from engines.formats.tensor import WIDTHS
from tests.hostile.archives import Member, archive
from tests.hostile.programs import checkpoint

Tensors = dict[str, torch.Tensor]


def numbered(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    count = int(torch.tensor(shape).prod()) if shape else 1
    return (torch.arange(count) % 100).reshape(shape).to(dtype)


def assert_same(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        other = found[name]
        assert type(other) is torch.Tensor
        assert not other.requires_grad
        assert (other.dtype, other.shape, other.stride()) == (tensor.dtype, tensor.shape, tensor.stride())
        assert other.contiguous().view(-1).view(torch.uint8).tolist() == bits(tensor), name


def bits(tensor: torch.Tensor) -> list[int]:
    found: list[int] = tensor.detach().contiguous().view(-1).view(torch.uint8).tolist()
    return found


def as_torch_reads(path: Path) -> Tensors:
    found: Tensors = torch.load(path, weights_only=True)
    return found


@pytest.mark.parametrize("name", WIDTHS)
def test_every_type_is_read_as_torch_reads_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": numbered(3, 4, dtype=getattr(torch, name)), "b": torch.zeros(1)}, path)

    assert_same(read_inert(path, weights.read(path)), as_torch_reads(path))


@pytest.mark.parametrize(
    "make",
    [
        lambda: numbered(),
        lambda: numbered(0),
        lambda: numbered(3, 0, 2),
        lambda: numbered(4, 6).T,
        lambda: numbered(4, 6)[1:, ::2],
        lambda: numbered(4, 6)[2:, 3:],
        lambda: numbered(2, 3, 4, 5).to(memory_format=torch.channels_last),
        lambda: numbered(3).expand(5, 3),
        lambda: numbered(8).as_strided((3, 3), (2, 1), 1),
        lambda: torch.nn.Parameter(numbered(2, 2)),
        lambda: numbered(3, 2, dtype=torch.bfloat16)[1:],
        lambda: numbered(5, dtype=torch.uint8)[3:],
    ],
    ids=["0-d", "empty", "empty edge", "transposed", "steps", "corner", "channels", "expanded", "overlapping",
         "parameter", "bfloat16 view", "odd bytes"],
)  # fmt: skip
def test_every_layout_is_read_as_torch_reads_it(tmp_path: Path, make: Callable[[], torch.Tensor]) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": make(), "b": numbered(2)}, path)

    assert_same(read_inert(path, weights.read(path)), as_torch_reads(path))


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_views_of_any_storages_are_read_as_torch_reads_them(tmp_path: Path, data: st.DataObject) -> None:
    types_ = st.sampled_from(["float16", "bfloat16", "float32", "int64", "bool", "uint8", "float8_e4m3fn"])
    storages = [
        numbered(data.draw(st.integers(1, 60)), dtype=getattr(torch, data.draw(types_))) for _ in range(3)
    ]
    views = {}
    for number in range(data.draw(st.integers(1, 5))):
        storage = data.draw(st.sampled_from(storages))
        shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
        stride = data.draw(st.lists(st.integers(0, 4), min_size=len(shape), max_size=len(shape)))
        reach = sum(max(edge - 1, 0) * step for edge, step in zip(shape, stride, strict=True))
        if reach < len(storage):
            offset = data.draw(st.integers(0, len(storage) - 1 - reach))
            views[f"view{number}"] = storage.as_strided(shape, stride, offset)
    path = tmp_path / "a.pt"
    torch.save(views | {"last": numbered(1)}, path)

    assert_same(read_inert(path, weights.read(path)), as_torch_reads(path))


def test_shared_bytes_stay_shared(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.pt", numbered(4, 4)
    torch.save({"whole": whole, "row": whole[1], "column": whole[:, 2]}, path)

    found = open_tensors(path)

    places = {name: tensor.untyped_storage().data_ptr() for name, tensor in found.items()}
    assert len(set(places.values())) == 1
    assert torch.equal(found["row"], found["whole"][1])


def test_tensors_are_mapped_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": numbered(3)}, path)
    before = path.read_bytes()

    open_tensors(path)["a"].fill_(7)

    assert path.read_bytes() == before


def test_bytes_that_are_not_aligned_are_copied(tmp_path: Path) -> None:
    path, data = tmp_path / "a.pt", bytes(range(12))
    expected = torch.frombuffer(bytearray(data), dtype=torch.float16).view(2, 3)
    for length in (40, 41):
        program = Member(b"archive/data.pkl", checkpoint())
        path.write_bytes(archive(program, Member(b"archive/data/0", data, local_name=b"x" * length)))

        assert all(torch.equal(tensor, expected) for tensor in open_tensors(path).values())


@pytest.fixture
def trainers_classes(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What trainers leave in a checkpoint: objects of classes that are not installed where it is opened."""
    made = {}
    with monkeypatch.context() as there:
        for module, name in (
            ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
            ("omegaconf.dictconfig", "DictConfig"),
            ("my_project.model", "Net"),
        ):
            kind = type(name, (), {"__module__": module})
            parts = module.split(".")
            for end in range(1, len(parts) + 1):
                above = ".".join(parts[:end])
                there.setitem(sys.modules, above, types.ModuleType(above))
            setattr(sys.modules[module], name, kind)
            instance = kind()
            instance.__dict__.update({"best": 0.5, "content": {"a": [1, (2, None)]}})
            made[module] = instance
            made[f"class {module}"] = kind
        yield made


def lightning(classes: dict[str, Any], tensors: OrderedDict[str, torch.Tensor]) -> dict[str, Any]:
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": tensors,
        "callbacks": classes,
        "hyper_parameters": argparse.Namespace(learning_rate=1e-4, when=datetime.datetime(2024, 1, 2)),
        "loss": np.float64(0.25),
        "history": np.arange(6).reshape(2, 3),
        "optimizer_states": [{"state": {0: {"step": torch.tensor(5), "exp_avg": torch.zeros(3)}}}],
        "path": Path("runs") / "first",
        "types": {torch.float16, int},
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_trainer_s_classes_are_words(
    tmp_path: Path, trainers_classes: dict[str, Any], protocol: int
) -> None:
    path = tmp_path / "epoch.ckpt"
    shared = numbered(4, 4)
    tensors = OrderedDict(
        a=numbered(3, 2, dtype=torch.bfloat16), b=shared.T, c=shared[1], d=numbered(), e=numbered(0, 2)
    )
    torch.save(lightning(trainers_classes, tensors), path, pickle_protocol=protocol)
    for module in trainers_classes:
        sys.modules.pop(module, None)

    assert_same(open_tensors(path), tensors)
    assert "my_project.model" not in sys.modules


def test_a_trainer_s_classes_in_the_older_format_are_told(
    tmp_path: Path, trainers_classes: dict[str, Any]
) -> None:
    path = tmp_path / "epoch.ckpt"
    state = lightning(trainers_classes, OrderedDict(a=numbered(3)))
    torch.save(state, path, _use_new_zipfile_serialization=False)

    with pytest.raises(NotLoadable, match=r"epoch\.ckpt is a pickle of before PyTorch 1\.6 with classes"):
        open_tensors(path)


def test_tensors_in_the_older_format_are_those_that_torch_reads(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.pt", numbered(4, 4, dtype=torch.bfloat16)
    state = {"a": whole.T, "b": whole[1:], "c": numbered(), "d": numbered(0)}
    torch.save(state, path, _use_new_zipfile_serialization=False)

    assert_same(open_tensors(path), as_torch_reads(path))
