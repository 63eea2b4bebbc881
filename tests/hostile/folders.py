"""Folders of diffusers that name foreign code: in the index, and in every other file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.hostile import programs
from tests.hostile.canary import CODE
from tests.hostile.case import Ground, Hostile, replace

DEMO: Final = Path(__file__).parents[2] / "engines" / "demo" / "weights"
"""The bundled model, which all diffusers folders here are made from."""
_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
_AUTO_MAP: Final = {
    "auto_map": dict.fromkeys(("AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor"), "evil.Evil")
    | {"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
    "custom_pipeline": "evil",
    "trust_remote_code": True,
}
_JINJA: Final = "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for _ in range(10**9) %}{% endfor %}"

Change = Callable[[Path], None]


def cases() -> Iterator[Hostile]:
    """All of them."""
    for name, (changes, detected, loaded) in _INDICES.items():
        yield changed(f"index-{name}", _index(changes), detected, loaded)
    for name, (change, detected, loaded) in _FILES.items():
        yield changed(name, change, detected, loaded)


def edit(file: Path, **changes: Any) -> None:
    """Change entries of a JSON file."""
    replace(file, json.dumps(json.loads(file.read_bytes()) | changes))


def changed(name: str, change: Change, detected: str, loaded: str | None) -> Hostile:
    """A copy of the bundled model, changed."""

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
            if not file.exists():
                file.write_text("{}")
            edit(file, model_type="evil", processor_class="Evil", **_AUTO_MAP)

    return change


_ODDITIES: Final = {
    "__init__": ["os", "system"],
    "_diffusers_version": {"__reduce__": ["os", "system"]},
    "_module": "evil",
    "_custom_pipeline": "evil",
    "_name_or_path": "/etc",
    "_blocks_class_name": "Evil",
    "trust_remote_code": True,
    "custom_pipeline": "evil",
    "torch_dtype": "os.system",
}
"""Entries that nothing reads."""

_INDICES: Final[Mapping[str, tuple[Mapping[str, Any], str, str | None]]] = {
    "os": ({"movq": ["os", "system"]}, "a model's own code is never executed", None),
    "builtins": ({"movq": ["builtins", "eval"]}, "a model's own code is never executed", None),
    "local-module": ({"movq": ["evil", "Evil"]}, "a model's own code is never executed", None),
    "path-as-library": ({"movq": ["../evil", "Evil"]}, "a model's own code is never executed", None),
    "dotted-library": ({"movq": ["diffusers.utils", "os"]}, "a model's own code is never executed", None),
    "dotted-class": (
        {"movq": ["diffusers", "VQModel.from_pretrained"]},
        "the name of no component's class",
        None,
    ),
    "dunder-class": ({"movq": ["diffusers", "__class__"]}, "the name of no component's class", None),
    "pipeline": ({"movq": ["diffusers", "DiffusionPipeline"]}, "the name of no component's class", None),
    "modular": ({"movq": ["diffusers", "ModularPipelineBlocks"]}, "the name of no component's class", None),
    "auto-pipeline": (
        {"movq": ["diffusers", "AutoPipelineForText2Image"]},
        "the name of no component's class",
        None,
    ),
    "auto-model": ({"movq": ["diffusers", "AutoModel"]}, "the name of no component's class", None),
    "auto-model-of-transformers": (
        {"movq": ["transformers", "AutoModelForCausalLM"]},
        "the name of no component's class",
        None,
    ),
    "auto-tokenizer": (
        {"tokenizer": ["transformers", "AutoTokenizer"]},
        "the name of no component's class",
        None,
    ),
    "auto-processor": (
        {"tokenizer": ["transformers", "AutoProcessor"]},
        "the name of no component's class",
        None,
    ),
    "processor": (
        {"tokenizer": ["transformers", "Qwen2VLProcessor"]},
        "asks for code of its own .auto_map.",
        None,
    ),
    "image-processor": ({"tokenizer": ["transformers", "CLIPImageProcessor"]}, "is no tokenizer", None),
    "function": ({"movq": ["transformers", "pipeline"]}, "the name of no component's class", None),
    "module": ({"movq": ["diffusers", "utils"]}, "the name of no component's class", None),
    "no-class": ({"movq": ["deprecated", "os"]}, "the name of no component's class", None),
    "three-words": ({"movq": ["diffusers", "VQModel", "evil"]}, "is not a pair of library and class", None),
    "numbers": ({"movq": [1, 2]}, "is not a pair of library and class", None),
    "name-up": ({"../evil": ["diffusers", "VQModel"]}, "cannot be a component's name", None),
    "name-absolute": ({"/etc": ["diffusers", "VQModel"]}, "cannot be a component's name", None),
    "name-empty": ({"": ["diffusers", "VQModel"]}, "cannot be a component's name", None),
    "name-dotted": ({"a.b": ["diffusers", "VQModel"]}, "cannot be a component's name", None),
    "custom-pipeline": (
        {"_class_name": ["evil", "Evil"]},
        "its own pipeline code, which is never executed",
        None,
    ),
    "pipeline-method": ({"_class_name": "DiffusionPipeline.download"}, "the name of none that draws", None),
    "pipeline-dunder": ({"_class_name": "__class__"}, "the name of none that draws", None),
    "pipeline-module": ({"_class_name": "utils"}, "the name of none that draws", None),
    "pipeline-function": ({"_class_name": "is_torch_available"}, "the name of none that draws", None),
    "pipeline-component": ({"_class_name": "UNet2DConditionModel"}, "the name of none that draws", None),
    "pipeline-output": ({"_class_name": "ImagePipelineOutput"}, "the name of none that draws", None),
    "pipeline-path": ({"_class_name": "../evil/Pipeline"}, "the name of none that draws", None),
    "pipeline-root": ({"_class_name": "DiffusionPipeline"}, "the name of none that draws", None),
    "pipeline-auto": ({"_class_name": "AutoPipelineForText2Image"}, "the name of none that draws", None),
    "pipeline-modular": ({"_class_name": "ModularPipeline"}, "the name of none that draws", None),
    "pipeline-unknown": ({"_class_name": "OsSystemPipeline"}, "", "diffusers has no OsSystemPipeline"),
    "oddities": (_ODDITIES, "", ""),
}


def _file(name: str, content: str | bytes) -> Change:
    return lambda path: (replace(path / name, content), None)[1]


def _edited(name: str, **changes: Any) -> Change:
    def change(path: Path) -> None:
        for folder in (path, (path / name).parent):
            (folder / "evil.py").write_text(CODE)
        edit(path / name, **changes)

    return change


def _code_everywhere(path: Path) -> None:
    """Whatever the libraries know to ask for code with, beside classes of their own, which need none."""
    for file in sorted(path.glob("*/*.json")):
        (file.parent / "evil.py").write_text(CODE)
        if "config" in file.name:
            edit(file, **_AUTO_MAP)
    edit(path / "unet" / "config.json", _class_name=["evil", "Evil"])
    edit(path / "scheduler" / "scheduler_config.json", _class_name="os.system")
    edit(path / "tokenizer" / "tokenizer_config.json", tokenizer_class="Evil", chat_template=_JINJA)
    for name in ("adapter_config", "generation_config"):
        (path / "text_encoder" / f"{name}.json").write_text(json.dumps(_AUTO_MAP))
    (path / "tokenizer" / "chat_template.jinja").write_text(_JINJA)
    (path / "unet" / "again").symlink_to(".")


_FILES: Final[Mapping[str, tuple[Change, str, str | None]]] = {
    "kernels": (
        _edited("text_encoder/config.json", attn_implementation="evil/kernels"),
        "asks for code from a hub",
        None,
    ),
    "kernels-within": (
        _edited("text_encoder/config.json", text_config={"_attn_implementation": "evil/x"}),
        "asks for code from a hub",
        None,
    ),
    "auto-map-other-type": (
        _edited("text_encoder/config.json", model_type="evil", architectures=["Evil"], **_AUTO_MAP),
        "",
        "",
    ),
    "quantized": (
        _edited("unet/config.json", quantization_config={"quant_method": "evil"}),
        "",
        "Unknown quantization type",
    ),
    "code-everywhere": (_code_everywhere, "", ""),
    "template-broken": (_edited("tokenizer/tokenizer_config.json", chat_template={"a": ["{{"]}), "", ""),
    "presets-deep": (
        _file("gateway.json", '{"defaults":' + "[" * 100_000),
        "gateway.json is not valid JSON",
        None,
    ),
    "presets-endless": (
        _file("gateway.json", json.dumps({"quality": {"low": float("inf")}})),
        "quality.low: inf is not between",
        None,
    ),
    "config-deep": (_file("unet/config.json", '{"a":' * 100_000), "config.json is not valid JSON", None),
    "config-list": (_file("unet/config.json", "[]"), "does not hold a JSON object", None),
    "script-as-weights": (
        _file(f"unet/{_WEIGHTS}", "#!/bin/sh\ntouch hostile_sprung\n"),
        "is a script, which is never run",
        None,
    ),
    "pickle-as-safetensors": (
        _file(f"unet/{_WEIGHTS}", programs.zipped(programs.checkpoint())),
        "",
        "the component unet",
    ),
}
"""What is changed in the folder, and the words of detection and of loading."""
