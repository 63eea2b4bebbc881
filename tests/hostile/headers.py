"""Safetensors files whose headers lie, and packs of our own that reach out of their folder."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from engines.formats import pack
from tests.hostile import programs
from tests.hostile.canary import CODE
from tests.hostile.case import Ground, Hostile

_NAME: Final = programs.NAMES[0]
_OTHER: Final = programs.NAMES[1]
_BYTES: Final = bytes(48)


def cases() -> Iterator[Hostile]:
    """All of them."""
    for name, (content, detected, opened) in _HEADERS.items():
        yield _file(f"header-{name}", content, detected, opened)
    for name, (entry, detected, opened) in _ENTRIES.items():
        yield _file(f"entry-{name}", lambda entry=entry: _safetensors({_NAME: entry}), detected, opened)
    for name, (changes, detected, loaded) in _PACKS.items():
        yield _pack(name, changes, detected, loaded)


def _file(name: str, content: Callable[[], bytes], detected: str, opened: str) -> Hostile:
    def write(ground: Ground) -> Path:
        return programs.write(ground.folder, content(), "kandinsky3.safetensors")

    return Hostile(name, write, detected, opened)


def _tensor(begin: Any = 24, end: Any = 48, shape: Any = (2, 3), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def _safetensors(changes: Mapping[str, Any]) -> bytes:
    """Two tensors, the last of which lies first."""
    return _raw(json.dumps({_NAME: _tensor(), _OTHER: _tensor(0, 24), **changes}))


def _raw(header: str | bytes, length: int | None = None) -> bytes:
    data = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(data) if length is None else length) + data + _BYTES


def _text(entry: str) -> Callable[[], bytes]:
    """A header with an entry as it is written."""
    return lambda: _raw(f'{{"{_OTHER}": {json.dumps(_tensor(0, 24))}, "{_NAME}": {entry}}}')


def _twice() -> bytes:
    first, second = json.dumps(_tensor(0, 24)), json.dumps(_tensor())
    return _raw(f'{{"{_OTHER}": {first}, "{_NAME}": {second}, "{_NAME}": {first}}}')


_HEADERS: Final[Mapping[str, tuple[Callable[[], bytes], str, str]]] = {
    "length-2-63": (lambda: _raw("{}", 2**63), "", ""),
    "length-beyond": (lambda: _raw("{}", 90_000_000), "", ""),
    "length-zero": (lambda: _raw("{}", 0), "", ""),
    "deep": (lambda: _raw('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "", ""),
    "deep-objects": (lambda: _raw('{"a":' * 100_000 + "1" + "}" * 100_000), "", ""),
    "spaces": (lambda: _raw(b"{" + b" " * 98_000_000 + b"}"), "", ""),
    "millions": (lambda: _raw('{"a":[' + "0," * 2_100_000 + "0]}"), "", ""),
    "not-json": (lambda: _raw("{'a': __import__('os').system('id')}"), "", ""),
    "not-utf-8": (lambda: _raw(b'{"\xff\xfe": 1}'), "", ""),
    "twice": (_twice, "", ""),
    "metadata-list": (lambda: _safetensors({"__metadata__": ["a"]}), "", ""),
    "metadata-nested": (lambda: _safetensors({"__metadata__": {"a": {"b": "c"}}}), "", ""),
    "metadata-number": (lambda: _safetensors({"__metadata__": {"a": 1}}), "", ""),
    "metadata-surrogate": (lambda: _safetensors({"__metadata__": {"a\ud800": "\udfff"}}), "", ""),
    "name-of-a-page": (lambda: _safetensors({"/etc/passwd" * 500: {}}), "", ""),
    "name-surrogate": (lambda: _safetensors({"\ud800": _tensor()}), "", ""),
}

_ENTRIES: Final[Mapping[str, tuple[Any, str, str]]] = {
    "overlapping": (_tensor(12, 36), "", ""),
    "hole": (_tensor(24, 48, (2, 3), "F32") | {"data_offsets": [20, 44]}, "", ""),
    "negative-offsets": (_tensor(-24, 0), "", ""),
    "backwards": (_tensor(48, 24), "", ""),
    "huge-offsets": (_tensor(2**62, 2**62 + 24), "", ""),
    "beyond-64-bits": (_tensor(2**70, 2**70 + 24), "", ""),
    "negative-shape": (_tensor(shape=(-2, -3)), "", ""),
    "huge-shape": (_tensor(shape=(2**62, 2**62, 2**62)), "", ""),
    "integers-of-a-page": (_tensor(shape=(10**4000,) * 100), "", ""),
    "dimensions": (_tensor(shape=(1,) * 10_000), "", ""),
    "infinite-shape": (_tensor(shape=(float("inf"), 3)), "", ""),
    "no-number-shape": (_tensor(shape=(float("nan"), 3)), "", ""),
    "words-shape": (_tensor(shape=("2", "3")), "", ""),
    "truth-shape": (_tensor(shape=(True, 6)), "", ""),
    "float-shape": (_tensor(shape=(2.0, 3.0)), "", ""),
    "wrong-size": (_tensor(24, 44), "", ""),
    "wrong-type": (_tensor(dtype="F64"), "", ""),
    "no-type": (_tensor(dtype="os.system"), "", ""),
    "type-of-a-page": (_tensor(dtype="F" * 100_000), "", ""),
    "type-list": (_tensor(dtype=["F32"]), "", ""),
    "new-type": (_tensor(dtype="F4_X"), "", ""),
    "three-offsets": ({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 1, 2]}, "", ""),
    "no-entry": ("os.system", "", ""),
    "null": (None, "", ""),
}

_DEMO: Final = Path(pack.__file__).parents[1] / "demo" / "weights"


def _pack(name: str, changes: Mapping[str, Any], detected: str, loaded: str | None) -> Hostile:
    """The bundled model as a pack, with some of its files changed."""

    def write(ground: Ground) -> Path:
        files = {
            file.relative_to(_DEMO).as_posix(): base64.b64encode(file.read_bytes()).decode()
            for file in sorted(_DEMO.rglob("*"))
            if pack.may_be_packed(file)
        }
        index = json.loads((_DEMO / "model_index.json").read_bytes())
        for key, value in changes.items():
            if key in index or key == "_class_name":
                index |= {key: value}
            else:
                files[key] = value
        files["model_index.json"] = base64.b64encode(json.dumps(index).encode()).decode()
        return programs.write(ground.folder, _packed(files), "kandinsky3-demo.safetensors")

    return Hostile(f"pack-{name}", write, detected, loaded=loaded)


def _packed(files: Mapping[str, Any]) -> bytes:
    from safetensors.torch import load_file, save

    tensors = {
        f"{file.parent.name}.{key}": value
        for file in sorted(_DEMO.glob("*/*.safetensors"))
        for key, value in load_file(file).items()
    }
    return save(tensors, {"format": "pt", pack.VERSION_KEY: "1", pack.FILES_KEY: json.dumps(files)})


_TEXT: Final = base64.b64encode(CODE.encode()).decode()
_MAPPED: Final = base64.b64encode(
    json.dumps({"auto_map": {"AutoModel": "evil.Evil"}, "trust_remote_code": True}).encode()
).decode()

_PACKS: Final[Mapping[str, tuple[Mapping[str, Any], str, str | None]]] = {
    "up": ({"../../hostile_sprung.json": _TEXT}, "", None),
    "absolute": ({"/tmp/hostile_sprung.json": _TEXT}, "", None),
    "within-up": ({"unet/../../hostile_sprung.json": _TEXT}, "", None),
    "backslash": ({"..\\hostile_sprung.json": _TEXT}, "", None),
    "nul": ({"unet/a\0.json": _TEXT}, "", None),
    "dot": ({"./a.json": _TEXT}, "", None),
    "double-slash": ({"unet//a.json": _TEXT}, "", None),
    "hidden": ({".git/config.json": _TEXT}, "", None),
    "deep": ({"a/b/c/d.json": _TEXT}, "", None),
    "long": ({"a" * 300 + ".json": _TEXT}, "", None),
    "surrogate": ({"\ud800.json": _TEXT}, "", None),
    "link": ({"unet -> ../../x.json": _TEXT}, "", None),
    "python": ({"evil.py": _TEXT}, "", None),
    "python-in-a-component": ({"unet/evil.py": _TEXT}, "", None),
    "pickle": ({"unet/pytorch_model.bin": _TEXT}, "", None),
    "file-and-folder": ({"x.json": _TEXT, "x.json/y.json": _TEXT}, "", None),
    "huge": ({"unet/a.txt": "A" * (90 * 2**20)}, "", None),
    "no-base64": ({"unet/a.json": "{%"}, "", None),
    "no-text": ({"unet/a.json": {"a": 1}}, "", None),
    "class-of-os": ({"unet": ["os", "system"]}, "", None),
    "class-of-builtins": ({"unet": ["builtins", "eval"]}, "", None),
    "class-up": ({"unet": ["../x", "Y"]}, "", None),
    "class-dotted": ({"unet": ["diffusers", "DiffusionPipeline.download"]}, "", None),
    "class-dunder": ({"unet": ["diffusers", "__class__"]}, "", None),
    "class-pipeline": ({"unet": ["diffusers", "DiffusionPipeline"]}, "", None),
    "class-auto": ({"text_encoder": ["transformers", "AutoModel"]}, "", None),
    "class-function": ({"text_encoder": ["transformers", "pipeline"]}, "", ""),
    "class-module": ({"unet": ["diffusers", "utils"]}, "", ""),
    "class-of-nothing": ({"unet": ["deprecated", "os"]}, "", ""),
    "custom-pipeline": ({"_class_name": ["evil", "Evil"]}, "", None),
    "pipeline-method": ({"_class_name": "DiffusionPipeline.download"}, "", None),
    "pipeline-dunder": ({"_class_name": "__class__"}, "", None),
    "pipeline-unet": ({"_class_name": "UNet2DConditionModel"}, "", None),
    "pipeline-unknown": ({"_class_name": "OsSystemPipeline"}, "", ""),
    "auto-map": ({"text_encoder/generation_config.json": _MAPPED}, "", ""),
}
"""Files and entries of the index that are changed, and the words of detection and of loading."""
