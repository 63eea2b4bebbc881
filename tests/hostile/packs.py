"""Packs of our own that reach out of their folder, or name classes that are none."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save

from engines.formats import pack
from tests.hostile import programs
from tests.hostile.canary import CODE
from tests.hostile.case import Ground, Hostile
from tests.hostile.folders import DEMO


def cases() -> Iterator[Hostile]:
    """All of them."""
    for name, (changes, detected, loaded) in _PACKS.items():
        yield _pack(name, changes, detected, loaded)


def _pack(name: str, changes: Mapping[str, Any], detected: str, loaded: str | None) -> Hostile:
    """The bundled model as a pack, with some of its files changed."""

    def write(ground: Ground) -> Path:
        files = {
            file.relative_to(DEMO).as_posix(): base64.b64encode(file.read_bytes()).decode()
            for file in sorted(DEMO.rglob("*"))
            if pack.may_be_packed(file)
        }
        index = json.loads((DEMO / "model_index.json").read_bytes())
        for key, value in changes.items():
            if key in index or key == "_class_name":
                index |= {key: value}
            else:
                files[key] = value
        files["model_index.json"] = base64.b64encode(json.dumps(index).encode()).decode()
        return programs.write(ground.folder, _packed(files), "kandinsky3-demo.safetensors")

    return Hostile(f"pack-{name}", write, detected, loaded=loaded, large=name == "huge")


@cache
def _tensors() -> dict[str, torch.Tensor]:
    return {
        f"{file.parent.name}.{key}": value
        for file in sorted(DEMO.glob("*/*.safetensors"))
        for key, value in load_file(file).items()
    }


def _packed(files: Mapping[str, Any]) -> bytes:
    return save(_tensors(), {"format": "pt", pack.VERSION_KEY: "1", pack.FILES_KEY: json.dumps(files)})


_TEXT: Final = base64.b64encode(CODE.encode()).decode()
_MAPPED: Final = base64.b64encode(
    json.dumps({"auto_map": {"AutoModel": "evil.Evil"}, "trust_remote_code": True}).encode()
).decode()

_PACKS: Final[Mapping[str, tuple[Mapping[str, Any], str, str | None]]] = {
    "up": ({"../../hostile_sprung.json": _TEXT}, "in a place where none may be", None),
    "absolute": ({"/tmp/hostile_sprung.json": _TEXT}, "in a place where none may be", None),
    "within-up": ({"unet/../../hostile_sprung.json": _TEXT}, "in a place where none may be", None),
    "backslash": ({"..\\hostile_sprung.json": _TEXT}, "in a place where none may be", None),
    "nul": ({"unet/a\0.json": _TEXT}, "in a place where none may be", None),
    "dot": ({"./a.json": _TEXT}, "in a place where none may be", None),
    "double-slash": ({"unet//a.json": _TEXT}, "in a place where none may be", None),
    "hidden": ({".git/config.json": _TEXT}, "in a place where none may be", None),
    "deep": ({"a/b/c/d.json": _TEXT}, "in a place where none may be", None),
    "long": ({"a" * 300 + ".json": _TEXT}, "in a place where none may be", None),
    "surrogate": ({"\ud800.json": _TEXT}, "in a place where none may be", None),
    "link": ({"unet -> ../../x.json": _TEXT}, "in a place where none may be", None),
    "python": ({"evil.py": _TEXT}, "in a place where none may be", None),
    "python-in-a-component": ({"unet/evil.py": _TEXT}, "in a place where none may be", None),
    "pickle": ({"unet/pytorch_model.bin": _TEXT}, "in a place where none may be", None),
    "file-and-folder": ({"x.json": _TEXT, "x.json/y.json": _TEXT}, "is a file and a folder at once", None),
    "huge": ({"unet/a.txt": "A" * (90 * 2**20)}, "far too large", None),
    "no-base64": ({"unet/a.json": "{%"}, "is damaged", None),
    "no-text": ({"unet/a.json": {"a": 1}}, "is damaged", None),
    "class-of-os": ({"unet": ["os", "system"]}, "never executed", None),
    "class-of-builtins": ({"unet": ["builtins", "eval"]}, "never executed", None),
    "class-up": ({"unet": ["../x", "Y"]}, "never executed", None),
    "class-dotted": (
        {"unet": ["diffusers", "DiffusionPipeline.download"]},
        "the name of no component's class",
        None,
    ),
    "class-dunder": ({"unet": ["diffusers", "__class__"]}, "the name of no component's class", None),
    "class-pipeline": (
        {"unet": ["diffusers", "DiffusionPipeline"]},
        "the name of no component's class",
        None,
    ),
    "class-auto": ({"text_encoder": ["transformers", "AutoModel"]}, "the name of no component's class", None),
    "class-function": (
        {"text_encoder": ["transformers", "pipeline"]},
        "the name of no component's class",
        None,
    ),
    "class-module": ({"unet": ["diffusers", "utils"]}, "the name of no component's class", None),
    "class-of-nothing": ({"unet": ["deprecated", "os"]}, "the name of no component's class", None),
    "custom-pipeline": ({"_class_name": ["evil", "Evil"]}, "never executed", None),
    "pipeline-method": ({"_class_name": "DiffusionPipeline.download"}, "the name of none that draws", None),
    "pipeline-dunder": ({"_class_name": "__class__"}, "the name of none that draws", None),
    "pipeline-unet": ({"_class_name": "UNet2DConditionModel"}, "the name of none that draws", None),
    "pipeline-unknown": ({"_class_name": "OsSystemPipeline"}, "", "diffusers has no OsSystemPipeline"),
    "auto-map": ({"text_encoder/generation_config.json": _MAPPED}, "", ""),
}
"""Files and entries of the index that are changed, and the words of detection and of loading."""
