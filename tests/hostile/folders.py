"""Models of several files: indices that name foreign code, links out of the folder, and what is no file."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file

from tests.hostile import programs
from tests.hostile.canary import CODE
from tests.hostile.case import Ground, Hostile, replace

DEMO: Final = Path(__file__).parents[2] / "engines" / "demo" / "weights"
"""The bundled model, which all diffusers folders here are made from."""
_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
_AUTO_MAP: Final = {
    "auto_map": {
        name: "evil.Evil" for name in ("AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor")
    }
    | {"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
    "custom_pipeline": "evil",
    "trust_remote_code": True,
}
_JINJA: Final = "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for _ in range(10**9) %}{% endfor %}"

Change = Callable[[Path], None]


def cases() -> Iterator[Hostile]:
    """All of them."""
    for name, (changes, detected, loaded) in _INDICES.items():
        yield _folder(f"index-{name}", _index(changes), detected, loaded)
    for name, (change, detected, loaded) in _FILES.items():
        yield _folder(name, change, detected, loaded)


def edit(file: Path, **changes: Any) -> None:
    """Change entries of a JSON file."""
    replace(file, json.dumps(json.loads(file.read_bytes()) | changes))


def _folder(name: str, change: Change, detected: str, loaded: str | None) -> Hostile:
    def write(ground: Ground) -> Path:
        path = ground.copy(DEMO).rename(ground.folder / "kandinsky3")
        change(path)
        return path

    return Hostile(name, write, detected, loaded=loaded)


def _index(changes: Mapping[str, Any]) -> Change:
    """Other entries in the index, and code wherever they may lead to."""

    def change(path: Path) -> None:
        edit(path / "model_index.json", **changes)
        for folder in (path, path / "movq", path / "tokenizer", path.parent):
            (folder / "evil.py").write_text(CODE)
            (folder / "pipeline.py").write_text(CODE)
        (path / "movq" / "model_index.json").write_text(json.dumps({"_class_name": ["evil", "Evil"]}))
        edit(path / "movq" / "config.json", model_type="evil", **_AUTO_MAP)
        for name in ("config", "tokenizer_config", "processor_config", "preprocessor_config"):
            file = path / "tokenizer" / f"{name}.json"
            file.exists() or file.write_text("{}")
            edit(file, model_type="evil", processor_class="Evil", **_AUTO_MAP)

    return change


_INDICES: Final[Mapping[str, tuple[Mapping[str, Any], str, str | None]]] = {
    "os": ({"movq": ["os", "system"]}, "", None),
    "builtins": ({"movq": ["builtins", "eval"]}, "", None),
    "local-module": ({"movq": ["evil", "Evil"]}, "", None),
    "path-as-library": ({"movq": ["../evil", "Evil"]}, "", None),
    "dotted-library": ({"movq": ["diffusers.utils", "os"]}, "", None),
    "dotted-class": ({"movq": ["diffusers", "VQModel.from_pretrained"]}, "", None),
    "dunder-class": ({"movq": ["diffusers", "__class__"]}, "", None),
    "pipeline": ({"movq": ["diffusers", "DiffusionPipeline"]}, "", None),
    "modular": ({"movq": ["diffusers", "ModularPipelineBlocks"]}, "", None),
    "auto-pipeline": ({"movq": ["diffusers", "AutoPipelineForText2Image"]}, "", None),
    "auto-model": ({"movq": ["diffusers", "AutoModel"]}, "", None),
    "auto-model-of-transformers": ({"movq": ["transformers", "AutoModelForCausalLM"]}, "", None),
    "auto-tokenizer": ({"tokenizer": ["transformers", "AutoTokenizer"]}, "", None),
    "auto-processor": ({"tokenizer": ["transformers", "AutoProcessor"]}, "", None),
    "processor": ({"tokenizer": ["transformers", "Qwen2VLProcessor"]}, "", None),
    "image-processor": ({"tokenizer": ["transformers", "CLIPImageProcessor"]}, "", ""),
    "function": ({"movq": ["transformers", "pipeline"]}, "", ""),
    "module": ({"movq": ["diffusers", "utils"]}, "", ""),
    "no-class": ({"movq": ["deprecated", "os"]}, "", ""),
    "three-words": ({"movq": ["diffusers", "VQModel", "evil"]}, "", None),
    "numbers": ({"movq": [1, 2]}, "", None),
    "name-up": ({"../evil": ["diffusers", "VQModel"]}, "", None),
    "name-absolute": ({"/etc": ["diffusers", "VQModel"]}, "", None),
    "name-empty": ({"": ["diffusers", "VQModel"]}, "", None),
    "name-dotted": ({"a.b": ["diffusers", "VQModel"]}, "", None),
    "name-dunder": ({"__init__": ["os", "system"]}, "", ""),
    "custom-pipeline": ({"_class_name": ["evil", "Evil"]}, "", None),
    "pipeline-method": ({"_class_name": "DiffusionPipeline.download"}, "", None),
    "pipeline-dunder": ({"_class_name": "__class__"}, "", None),
    "pipeline-module": ({"_class_name": "utils"}, "", None),
    "pipeline-function": ({"_class_name": "is_torch_available"}, "", None),
    "pipeline-component": ({"_class_name": "UNet2DConditionModel"}, "", None),
    "pipeline-output": ({"_class_name": "ImagePipelineOutput"}, "", None),
    "pipeline-path": ({"_class_name": "../evil/Pipeline"}, "", None),
    "pipeline-root": ({"_class_name": "DiffusionPipeline"}, "", ""),
    "pipeline-auto": ({"_class_name": "AutoPipelineForText2Image"}, "", ""),
    "pipeline-modular": ({"_class_name": "ModularPipeline"}, "", ""),
    "pipeline-unknown": ({"_class_name": "OsSystemPipeline"}, "", ""),
    "version-list": ({"_diffusers_version": ["os", "system"]}, "", ""),
    "version-object": ({"_diffusers_version": {"__reduce__": "os.system"}}, "", ""),
    "version-path": ({"_diffusers_version": "../../evil"}, "", ""),
    "private-entries": (
        {
            "_module": "evil",
            "_custom_pipeline": "evil",
            "_name_or_path": "/etc",
            "_blocks_class_name": "Evil",
        },
        "",
        "",
    ),
    "options": ({"trust_remote_code": True, "custom_pipeline": "evil", "torch_dtype": "os.system"}, "", ""),
}


def _linked(name: str, target: str) -> Change:
    """A file or folder that is a link; ``OUT`` in the target is a folder beside the model."""

    def change(path: Path) -> None:
        out = path.parent / "out"
        out.mkdir()
        for file in path.rglob("*.*"):
            if file.is_file():
                (out / file.name).write_bytes(file.read_bytes())
        place = path / name
        if place.is_dir():
            place.rename(out / place.name)
        else:
            place.unlink(missing_ok=True)
        place.symlink_to(target.replace("OUT", str(out)))

    return change


def _pipe(name: str) -> Change:
    def change(path: Path) -> None:
        (path / name).unlink(missing_ok=True)
        os.mkfifo(path / name)

    return change


def _socket(name: str) -> Change:
    def change(path: Path) -> None:
        (path / name).unlink(missing_ok=True)
        here = Path.cwd()
        os.chdir((path / name).parent)  # the path of a socket has at most a hundred letters
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind((path / name).name)
        finally:
            os.chdir(here)

    return change


def _file(name: str, content: str | bytes) -> Change:
    return lambda path: (replace(path / name, content), None)[1]


def _edited(name: str, **changes: Any) -> Change:
    def change(path: Path) -> None:
        for folder in (path, (path / name).parent):
            (folder / "evil.py").write_text(CODE)
        edit(path / name, **changes)

    return change


def _sharded(*files: str, kind: str = "safetensors", decoy: str | None = None) -> Change:
    """The UNet as an index of these files."""

    def change(path: Path) -> None:
        weights = path / "unet" / _WEIGHTS
        if decoy:
            replace(path / "unet" / decoy, weights.read_bytes())
        names = list(load_file(weights))
        placed = {name: files[place % len(files)] for place, name in enumerate(names)}
        weights.unlink()
        index = {"metadata": {"total_size": 1}, "weight_map": placed}
        ending = {"safetensors": "safetensors", "bin": "bin"}[kind]
        replace(path / "unet" / f"diffusion_pytorch_model.{ending}.index.json", json.dumps(index))

    return change


_FILES: Final[Mapping[str, tuple[Change, str, str | None]]] = {
    "link-component": (_linked("movq", "OUT/movq"), "", None),
    "link-weights": (_linked(f"unet/{_WEIGHTS}", f"OUT/{_WEIGHTS}"), "", None),
    "link-config": (_linked("unet/config.json", "OUT/config.json"), "", None),
    "link-beside": (_linked("unet/evil.py", "OUT/config.json"), "", None),
    "link-relative": (_linked("unet/config.json", "../../out/config.json"), "", None),
    "link-to-zeros": (_linked(f"unet/{_WEIGHTS}", "/dev/zero"), "", None),
    "link-to-noise": (_linked("unet/config.json", "/dev/urandom"), "", None),
    "link-to-memory": (_linked(f"unet/{_WEIGHTS}", "/proc/self/mem"), "", None),
    "link-of-index-to-noise": (_linked("model_index.json", "/dev/urandom"), "", None),
    "link-of-presets-to-noise": (_linked("gateway.json", "/dev/urandom"), "", None),
    "link-to-itself": (_linked(f"unet/{_WEIGHTS}", _WEIGHTS), "", None),
    "link-to-itself-beside": (_linked("unet/loop", "loop"), "", None),
    "link-to-itself-component": (_linked("movq", "movq"), "", None),
    "link-to-parent": (_linked("unet/again", "../.."), "", None),
    "link-to-folder": (_linked("unet/again", "."), "", ""),
    "link-broken": (_linked(f"unet/{_WEIGHTS}", "nowhere"), "", None),
    "pipe-weights": (_pipe(f"unet/{_WEIGHTS}"), "", None),
    "pipe-config": (_pipe("unet/config.json"), "", None),
    "pipe-beside": (_pipe("tokenizer/added_tokens.json"), "", None),
    "pipe-presets": (_pipe("gateway.json"), "", None),
    "pipe-index": (_pipe("model_index.json"), "", None),
    "pipe-vocabulary": (_pipe("tokenizer/tokenizer.json"), "", None),
    "pipe-scheduler": (_pipe("scheduler/scheduler_config.json"), "", None),
    "pipe-of-shards": (_pipe("unet/diffusion_pytorch_model.safetensors.index.json"), "", None),
    "socket-weights": (_socket(f"unet/{_WEIGHTS}"), "", None),
    "shards-up": (_sharded("../../etc/passwd"), "", None),
    "shards-absolute": (_sharded("/etc/passwd"), "", None),
    "shards-decoy": (_sharded("../../out/model.safetensors", decoy="model.safetensors"), "", None),
    "shards-pickled": (_sharded("a.bin", decoy="a.bin"), "", None),
    "shards-nul": (_sharded("a\0.safetensors"), "", None),
    "shards-dots": (_sharded(".."), "", None),
    "shards-missing": (_sharded("a.safetensors"), "", None),
    "kernels": (_edited("text_encoder/config.json", attn_implementation="evil/kernels"), "", None),
    "kernels-within": (
        _edited("text_encoder/config.json", text_config={"_attn_implementation": "evil/x"}),
        "",
        None,
    ),
    "auto-map": (_edited("text_encoder/config.json", **_AUTO_MAP), "", ""),
    "auto-map-other-type": (
        _edited("text_encoder/config.json", model_type="evil", architectures=["Evil"], **_AUTO_MAP),
        "",
        "",
    ),
    "auto-map-tokenizer": (
        _edited("tokenizer/tokenizer_config.json", tokenizer_class="Evil", **_AUTO_MAP),
        "",
        "",
    ),
    "auto-map-unet": (_edited("unet/config.json", _class_name=["evil", "Evil"], **_AUTO_MAP), "", ""),
    "scheduler-class": (
        _edited("scheduler/scheduler_config.json", _class_name="os.system", **_AUTO_MAP),
        "",
        "",
    ),
    "quantized": (_edited("unet/config.json", quantization_config={"quant_method": "evil"}), "", ""),
    "adapter": (_file("text_encoder/adapter_config.json", json.dumps(_AUTO_MAP)), "", ""),
    "generation-config": (_file("text_encoder/generation_config.json", json.dumps(_AUTO_MAP)), "", ""),
    "template": (_edited("tokenizer/tokenizer_config.json", chat_template=_JINJA), "", ""),
    "template-file": (_file("tokenizer/chat_template.jinja", _JINJA), "", ""),
    "template-broken": (_edited("tokenizer/tokenizer_config.json", chat_template={"a": ["{{"]}), "", ""),
    "presets-deep": (_file("gateway.json", '{"defaults":' + "[" * 100_000), "", None),
    "presets-endless": (_file("gateway.json", json.dumps({"quality": {"low": float("inf")}})), "", None),
    "config-deep": (_file("unet/config.json", '{"a":' * 100_000), "", None),
    "config-list": (_file("unet/config.json", "[]"), "", None),
    "script-as-weights": (_file(f"unet/{_WEIGHTS}", "#!/bin/sh\ntouch hostile_sprung\n"), "", None),
    "pickle-as-safetensors": (_file(f"unet/{_WEIGHTS}", programs.zipped(programs.checkpoint())), "", ""),
}
"""What is changed in the folder, and the words of detection and of loading."""
