"""Weights stored in fewer bits than they compute in: smaller, and not exact.

Only the matrices of linear layers are stored so, a scale for each row (``int8``, ``float8``) or for
each 64 values (``nf4``); they are expanded again when they are multiplied. Measured on the demo model
(float32, 128 x 128, 20 steps, three prompts) against its exact pictures, the largest mean and the
largest single difference of 255: text encoder in int8 0.03 and 2, in float8 0.16 and 3; UNet in int8
0.09 and 5, in float8 0.51 and 18. All in bfloat16 without rounding: 0.61 and 7.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from engines.card import Component, ModelCard
from engines.errors import NotLoadable
from engines.offloading import DEVICES as OWN_MEMORY

EXTRA: Final = "kandinsky-gateway[quantize]"


class Quantization(StrEnum):
    """How the matrices of a component are stored."""

    INT8 = "int8"
    FLOAT8 = "float8"
    NF4 = "nf4"


@dataclass(frozen=True)
class Storage:
    """What a kind needs: a package and a device of one of these types; ``bytes_per_weight`` with scales."""

    package: str
    devices: tuple[str, ...]
    bytes_per_weight: float


STORAGES: Final[Mapping[Quantization, Storage]] = MappingProxyType(
    {
        Quantization.INT8: Storage("torchao", ("cuda", "cpu"), 1.0),
        Quantization.FLOAT8: Storage("torchao", ("cuda", "cpu"), 1.0),
        # 4 bits, an 8-bit scale for 64 of them, a 32-bit one for 256 scales. diffusers asks for a GPU.
        Quantization.NF4: Storage("bitsandbytes", OWN_MEMORY, 0.5 + 1 / 64 + 4 / (64 * 256)),
    }
)


def installed(package: str) -> bool:
    """Whether a package can be imported; does not import it."""
    return importlib.util.find_spec(package) is not None


def check(
    card: ModelCard,
    wanted: Mapping[str, str],
    *,
    device: str,
    is_installed: Callable[[str], bool] = installed,
) -> None:
    """See, before anything is read, that ``wanted`` (component to kind) can be had on a device.

    Raises:
        NotLoadable: a component or kind that there is not, a component that must stay exact, a device
            that the kind is not made for, a package that is not installed.
    """
    for name, word in wanted.items():
        reason = _refusal(card, name, word, device=device.partition(":")[0], is_installed=is_installed)
        if reason is not None:
            raise NotLoadable(card.name, f"--quantize {name}={word}: {reason}")


def quantizable(component: Component) -> bool:
    """Whether a component has matrices that may be rounded: weights, and not a picture's last step.

    An autoencoder is small, made of convolutions, and its errors are seen at once.
    """
    exact = component.class_name == "VQModel" or component.class_name.startswith(
        ("Autoencoder", "AsymmetricAuto")
    )
    return component.dtype is not None and not exact


def load_arguments(word: str, component_class: Any, *, device: str, dtype: Any) -> dict[str, Any]:
    """What ``from_pretrained`` of a component's class must be given, besides its dtype, for a kind.

    ``dtype`` is torch's, that the component computes in. bitsandbytes makes layers of its own before the
    weights are read, and puts them on the GPU; for the other kinds there is nothing to give.
    """
    if word != Quantization.NF4:
        return {}
    import diffusers
    import transformers

    # Each library understands its own class alone.
    library: Any = transformers if issubclass(component_class, transformers.PreTrainedModel) else diffusers
    config = library.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def rounded(name: str, component: Any, word: str, *, device: str) -> Any:
    """A component that was loaded as a kind needs it, its matrices rounded, on a device.

    They go there one by one: the device never holds the exact weights. A CPU's core rounds 50 million a
    second.

    Raises:
        NotLoadable: it was put together from another file than diffusers' own, which bitsandbytes cannot.
    """
    if word == Quantization.NF4:
        if not getattr(component, "is_loaded_in_4bit", False):
            way = f"only a diffusers folder can be loaded so; {Quantization.INT8} works"
            raise NotLoadable(name, f"--quantize {name}={word}: {way}")
        return component
    # Imported by name: it is an extra, and has no types.
    torchao: Any = importlib.import_module("torchao.quantization")
    kinds = {
        Quantization.INT8: torchao.Int8WeightOnlyConfig,
        Quantization.FLOAT8: torchao.Float8WeightOnlyConfig,
    }
    torchao.quantize_(component, kinds[Quantization(word)](), device=device)
    return component.to(device)


def _refusal(
    card: ModelCard, name: str, word: str, *, device: str, is_installed: Callable[[str], bool]
) -> str | None:
    component = next((each for each in card.components if each.name == name), None)
    able = ", ".join(each.name for each in card.components if quantizable(each)) or "none"
    if component is None:
        return f"the model has no such component; those that can be are {able}"
    if not quantizable(component):
        return f"a {component.class_name} is not to be rounded; those that can be are {able}"
    kind = next((each for each in Quantization if each == word), None)
    if kind is None:
        return f"there is no such kind; the kinds are {', '.join(Quantization)}"
    storage = STORAGES[kind]
    if device not in storage.devices:
        return f"{word} works on {' and '.join(storage.devices)}, and this model computes on {device}"
    if not is_installed(storage.package):
        return f"the package {storage.package} is not installed: pip install '{EXTRA}'"
    return None
