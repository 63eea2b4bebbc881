"""A folder written by ``save_pretrained``: ``model_index.json`` and a folder for each component."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from engines import own_classes
from engines.card import Component
from engines.errors import NotLoadable
from engines.formats import content, weights

INDEX: Final = "model_index.json"
LIBRARIES: Final = ("diffusers", "transformers")
OWN_LIBRARY: Final = own_classes.LIBRARY
INPAINTING_CHANNELS: Final = 9
"""Of the first layer of a denoiser that was made to inpaint: latents, the picture's latents, the mask."""
NOTHING: Final[Mapping[str, Path]] = MappingProxyType({})
_NAME: Final = re.compile(r"[A-Za-z]\w*", re.ASCII)
_CLASS: Final = re.compile(r"(?=.*[A-Z])[A-Za-z]\w*", re.ASCII)
_NO_PIPELINES: Final = re.compile(r"DiffusionPipeline|AutoPipeline\w*|\w*Modular\w*|\w*Output")
_CHOOSERS: Final = re.compile(
    r"Auto(?:Model|Tokenizer|Processor|ImageProcessor|FeatureExtractor|Config)\w*|\w*Pipeline\w*"
)
"""Classes that make another one, which a file names: transformers' would ask on the terminal whether to run
the code that lies there, and diffusers' would read an index that nobody has looked at."""
_TOKENIZERS: Final = re.compile(r"\w*Tokenizer\w*|\w*(?<!Image)(?<!Video)Processor")
_CONFIGURATIONS: Final = (
    "config.json",
    "feature_extractor_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
)
_KERNELS: Final = ("attn_implementation", "_attn_implementation", "experts_implementation")
_WITHOUT_WEIGHTS: Final = ("Scheduler", "Tokenizer", "Processor", "Extractor")
_WEIGHT_FILE: Final = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?(?P<kind>\.safetensors|\.bin)"
    r"(?P<index>\.index(?:\.(?P<sharded_variant>\w+))?\.json)?"
)
VOCABULARIES: Final = ("tokenizer.json", "vocab.txt", "spiece.model", "vocab.json+merges.txt")
"""What a tokenizer's folder may hold, in words."""


class WeightName(NamedTuple):
    """What the name of a weight file says; the least is to be taken.

    Safetensors before pickles, the plain names before those of a ``variant`` ("fp16"), one file before
    shards, for which the name of their index stands.
    """

    pickled: bool
    variant: str
    sharded: bool


def weight_name(name: str) -> WeightName | None:
    """Read the name of a file; ``None`` where diffusers and transformers look for no such weights."""
    match = _WEIGHT_FILE.fullmatch(name)
    if match is None:
        return None
    variant = match["variant"] or match["sharded_variant"] or ""
    return WeightName(match["kind"] == ".bin", variant, match["index"] is not None)


@dataclass(frozen=True)
class StoredWeights:
    """The weight files of one component; ``variant`` is the word in their names ("fp16").

    With a ``prefix`` the files hold other components, too, and this one's tensors have names that begin so.
    """

    files: tuple[Path, ...]
    variant: str | None
    pickled: bool
    prefix: str = ""


@dataclass(frozen=True)
class StoredComponent:
    """A component as the index names it, where it lies, and its weights if it has any."""

    name: str
    library: str
    class_name: str
    folder: Path
    weights: StoredWeights | None

    def describe(self, prefix: str = "") -> Component:
        """Its entry in a model card, from the headers of its files.

        Raises:
            NotLoadable: a weight file is damaged.
        """
        size, dtype = 0, None
        if self.weights:
            found = [_read(self, file) for file in self.weights.files]
            size = sum(one.size for one in found)
            dtype = weights.main_dtype((one.dtype, one.size) for one in found)
        return Component(
            name=prefix + self.name, library=self.library, class_name=self.class_name, size=size, dtype=dtype
        )


@dataclass(frozen=True)
class StoredPipeline:
    """A diffusers folder: its pipeline class, components, and the values of its other arguments."""

    path: Path
    class_name: str
    components: tuple[StoredComponent, ...]
    options: dict[str, Any]


def is_pipeline(path: Path) -> bool:
    """Whether a folder has an index."""
    return (path / INDEX).is_file()


def class_of(path: Path) -> str:
    """The pipeline class that a folder's index names.

    Raises:
        NotLoadable: the index is damaged, or names a class of its own code.
    """
    return class_in(content.read_object(path / INDEX))


def class_in(index: Mapping[str, Any]) -> str:
    """The pipeline class that an index names.

    Raises:
        NotLoadable: it names none, or a class of its own code.
    """
    name = index.get("_class_name")
    if isinstance(name, list):
        raise NotLoadable(INDEX, f"{INDEX} asks for its own pipeline code, which is never executed")
    if not isinstance(name, str) or not name:
        raise NotLoadable(INDEX, f"{INDEX} names no pipeline class (_class_name)")
    if not _NAME.fullmatch(name) or "Pipeline" not in name or _NO_PIPELINES.fullmatch(name):
        reason = f"{INDEX} names {name[:100]!r} as its pipeline, which is the name of none that draws"
        raise NotLoadable(INDEX, reason)
    return name


def listed(index: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The components of an index: name, library and class of each.

    Raises:
        NotLoadable: an entry is no component's, or its class would be code that comes with the model.
    """
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue
        if len(value) != 2 or not all(isinstance(word, str) for word in value):
            raise NotLoadable(INDEX, f"{INDEX}: {name} is not a pair of library and class")
        library, class_name = value
        if not _NAME.fullmatch(name):
            raise NotLoadable(INDEX, f"{INDEX}: {name!r} cannot be a component's name")
        require_known(name, library, class_name)
        yield name, library, class_name


def options_in(index: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the pipeline's other arguments."""
    return {
        name: value
        for name, value in index.items()
        if not name.startswith("_") and not isinstance(value, list)
    }


def has_weights(class_name: str) -> bool:
    """Whether components of a class have weights, as far as its name tells."""
    return not any(word in class_name for word in _WITHOUT_WEIGHTS)


def traits(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a card says of a pipeline besides its components, from their configurations by name."""
    channels = (configs.get(name, {}).get("out_channels") for name in ("vae", "movq"))
    return {
        "inpaints": configs.get("unet", {}).get("in_channels") == INPAINTING_CHANNELS,
        "image_channels": next((found for found in channels if isinstance(found, int)), 3),
    }


def open_folder(path: Path, replaced: Mapping[str, Path] = NOTHING) -> StoredPipeline:
    """Read a folder's index and find every file that it needs; ``replaced`` are other components' folders.

    Raises:
        NotLoadable: the index is damaged, a component is missing or lies elsewhere, or it needs code of
            its own.
    """
    index = content.read_object(path / INDEX)
    class_name = class_in(index)
    components = [
        _component(path, name, library, class_name, replaced.get(name))
        for name, library, class_name in listed(index)
    ]
    if not components:
        raise NotLoadable(INDEX, f"{INDEX} lists no components")
    unknown = sorted(set(replaced) - {component.name for component in components})
    if unknown:
        names = ", ".join(component.name for component in components)
        raise NotLoadable(INDEX, f"--component {unknown[0]}: this model has no such part; it has {names}")
    return StoredPipeline(path, class_name, tuple(components), options_in(index))


def _component(
    path: Path, name: str, library: str, class_name: str, replacement: Path | None
) -> StoredComponent:
    folder = replacement or path / name
    if replacement is not None:
        _require_class(name, class_name, replacement)
    if not folder.is_dir():
        reason = f"the component {name} ({class_name}) is missing: there is no folder {folder.name}/"
        raise NotLoadable(INDEX, reason)
    _require_inside(folder if replacement else path, folder)
    return StoredComponent(name, library, class_name, folder, weights_of(name, class_name, folder))


def _require_class(name: str, class_name: str, folder: Path) -> None:
    """See that a folder that is to replace a component holds one of its class."""
    if folder.is_file():
        raise NotLoadable(INDEX, f"--component {name}: {folder.name} is a file, not a folder")
    if not folder.is_dir():
        raise NotLoadable(INDEX, f"--component {name}: {folder.name}, which was given, is not there")
    if not has_weights(class_name):
        return
    config = content.read_object(folder / "config.json")
    made = [config.get("_class_name"), *(config.get("architectures") or ())]
    stated = [word for word in made if isinstance(word, str)]
    if stated and class_name not in stated and not _CONTAINED.get(class_name, frozenset()) & set(stated):
        reason = f"--component {name}: {folder.name}/ holds a {stated[0]}, where a {class_name} is needed"
        raise NotLoadable(INDEX, reason)


_CONTAINED: Final = MappingProxyType(
    {
        "CLIPTextModel": frozenset({"CLIPModel", "CLIPTextModelWithProjection"}),
        "CLIPTextModelWithProjection": frozenset({"CLIPModel"}),
        "CLIPVisionModelWithProjection": frozenset({"CLIPModel"}),
        "T5EncoderModel": frozenset({"T5ForConditionalGeneration", "T5Model"}),
    }
)
"""Classes whose weights have those of another within."""


def _require_inside(root: Path, folder: Path) -> None:
    """See that no link leads out of a model's folder: what lies there is not the model's.

    In a hub's cache files are links to the blobs of their repository.
    """
    bound = root.resolve()
    if bound.parent.name == "snapshots" and bound.parent.parent.name.startswith("models--"):
        bound = bound.parent.parent
    # Where huggingface_hub keeps what several repositories share.
    shared = bound.parent / "blobs" if bound.name.startswith("models--") else bound
    for file in (folder, *folder.iterdir()):
        shown = file.relative_to(root).as_posix() if file != root else root.name
        try:
            place = file.resolve()
            inside = place.is_relative_to(bound) or place.is_relative_to(shared)
        except (RuntimeError, OSError) as error:
            raise NotLoadable(INDEX, f"{shown} is a link that leads to itself") from error
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise NotLoadable(INDEX, f"{shown} is a pipe, a socket or a device, which is never read")
        if not inside:
            reason = (
                f"{shown} is a link that leads out of the model's folder: put the file itself there, or name "
                f"the component's folder with --component {folder.name}=PATH"
            )
            raise NotLoadable(INDEX, reason)


def require_known(name: str, library: str, class_name: str) -> None:
    """See that a component's class is one of diffusers' or transformers'.

    Raises:
        NotLoadable: it would be code that comes with the model.
    """
    own = library == OWN_LIBRARY and class_name in own_classes.NAMES
    if not (own or library in LIBRARIES or library in _pipeline_modules()):
        named = f"{class_name[:100]} of {library[:100]!r}"
        raise NotLoadable(INDEX, f"{INDEX}: {name} is a {named}: a model's own code is never executed")
    if not _CLASS.fullmatch(class_name) or _CHOOSERS.fullmatch(class_name):
        reason = f"{INDEX}: {name} is a {class_name[:100]!r}, which is the name of no component's class"
        raise NotLoadable(INDEX, reason)
    if "tokenizer" in name and not _TOKENIZERS.fullmatch(class_name):
        raise NotLoadable(INDEX, f"{INDEX}: {name} is a {class_name}, which is no tokenizer")


def weights_of(name: str, class_name: str, folder: Path) -> StoredWeights | None:
    """The weights of a component, which are ``None`` where its class has none.

    Raises:
        NotLoadable: a file that the component needs is missing or damaged.
    """
    if class_name.endswith("Scheduler"):
        content.read_object(folder / "scheduler_config.json")
        return None
    if "Tokenizer" in class_name:
        if not has_vocabulary(folder):
            reason = f"the tokenizer in {name}/ has no vocabulary: it needs {', or '.join(VOCABULARIES)}"
            raise NotLoadable(name, reason)
        return None
    if not has_weights(class_name):
        refuse_own_code(name, class_name, folder)
        return None
    try:
        refuse_kernels(content.read_object(folder / "config.json"))
    except NotLoadable as error:
        raise NotLoadable(name, f"the component {name}: {error.reason}") from error
    found = weights_in(folder)
    if found is None:
        raise NotLoadable(name, f"the component {name} ({class_name}) has no weight file in {name}/")
    return found


def refuse_own_code(name: str, class_name: str, folder: Path) -> None:
    """See that no file of a processor names code for one of its parts: transformers would ask on the terminal
    whether to run it.

    Raises:
        NotLoadable: one does, or cannot be read.
    """
    if not class_name.endswith("Processor") or "ImageProcessor" in class_name:
        return
    for file in sorted(folder.glob("*.json")):
        if file.name in _CONFIGURATIONS and "auto_map" in content.read_object(file):
            reason = f"{name}/{file.name} asks for code of its own (auto_map), which is never executed"
            raise NotLoadable(name, reason)


def refuse_kernels(config: Mapping[str, Any]) -> None:
    """Attention by the name of a repository is code, which transformers would fetch and run."""
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in _KERNELS:
            if "/" in str(part.get(key) or "")[:1000]:
                raise NotLoadable(
                    key, f"config.json asks for code from a hub ({key}), which is never executed"
                )


def has_vocabulary(folder: Path) -> bool:
    """Whether a tokenizer's folder has the files without which transformers makes an empty one."""
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return True
    single = ("tokenizer.json", "vocab.txt", "*.model", "*.tiktoken")
    return any(file.stat().st_size for pattern in single for file in folder.glob(pattern))


def weights_in(folder: Path) -> StoredWeights | None:
    """The weights that a component's folder has, of several sets the one that `WeightName` puts first."""
    named = ((weight_name(file.name), file) for file in folder.iterdir())
    found = [(name, file) for name, file in named if name is not None]
    if not found:
        return None
    (pickled, variant, sharded), file = min(found)
    return StoredWeights(_shards(file) if sharded else (file,), variant or None, pickled)


def _shards(index: Path) -> tuple[Path, ...]:
    placed = content.read_object(index).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(name, str) for name in placed.values()):
        raise NotLoadable(index.name, f"{index.name} has no map of weights to files")
    kind = ".safetensors" if ".safetensors." in index.name else ".bin"
    for name in sorted(set(placed.values())):
        if Path(name).name != name or not name.endswith(kind):
            reason = f"{index.name} names {name[:100]!r}, which is no {kind} file beside it"
            raise NotLoadable(index.name, reason)
    files = tuple(index.parent / name for name in sorted(set(placed.values())))
    for file in files:
        if not file.is_file():
            raise NotLoadable(file.name, f"{index.parent.name}/{file.name} is missing")
    return files


def _read(component: StoredComponent, file: Path) -> weights.Weights:
    try:
        return weights.read(file)
    except NotLoadable as error:
        raise NotLoadable(file.name, f"the component {component.name}: {error.reason}") from error


@cache
def _pipeline_modules() -> frozenset[str]:
    """The packages of diffusers' own pipelines, some of which hold components; diffusers is not imported."""
    found = importlib.util.find_spec("diffusers")
    if found is None or not found.submodule_search_locations:
        return frozenset()
    pipelines = Path(found.submodule_search_locations[0]) / "pipelines"
    return frozenset(entry.name for entry in pipelines.iterdir() if entry.is_dir())
