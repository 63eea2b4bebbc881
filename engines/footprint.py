"""The memory that a model's weights take on the device, before any is read.

Weights only: what a pipeline computes with comes on top (for Kandinsky 3 at 1024 x 1024, one picture,
count on 2 to 4 GB), and so does the CUDA context (about 0.5 GB). Bytes are exact where nothing is
quantised or moved in groups; there they are estimates from the measured shares of `_LINEAR` and
`_AT_ONCE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from engines.card import Component, ModelCard
from engines.offloading import Offload
from engines.quantization import STORAGES, Quantization, quantizable

_ITEM_BYTES: Final[Mapping[str, int]] = MappingProxyType(
    {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
)
_LINEAR: Final[Mapping[str, float]] = MappingProxyType(
    {
        "Kandinsky3UNet": 0.43,
        "UNet2DConditionModel": 0.25,
        "CLIPTextModel": 0.69,
        "MultilingualCLIP": 0.54,
        "T5EncoderModel": 0.985,
    }
)
"""Share of a class's weights that lie in linear layers, which alone are quantised: counted on the real
configurations, built without weights. UNet2DConditionModel is Kandinsky 2.2's (SDXL's is 0.87)."""
_LINEAR_ELSEWHERE: Final = 0.9

_WIDE: Final[Mapping[str, float]] = MappingProxyType({"T5EncoderModel": 0.246, "UMT5EncoderModel": 0.246})
"""Share of the weights that transformers keeps in float32 when asked for float16, and that bitsandbytes
leaves alone: the ``wo`` of a T5."""

_KEPT: Final = frozenset({"prior_prior", "prior", "safety_checker"})
"""Components that diffusers' pipelines exclude from offloading."""

_AT_ONCE: Final[Mapping[Offload, tuple[float, float]]] = MappingProxyType(
    {Offload.SEQUENTIAL: (0.02, 0.02), Offload.GROUP: (0.61, 0.03)}
)
"""Share of a diffusers component, and of one of transformers, that is on the device at once. Of
Kandinsky 3: two neighbouring blocks of the UNet and what lies outside its blocks; two layers of the T5."""


@dataclass(frozen=True)
class ComponentFootprint:
    """Bytes of one component: of all its weights as loaded, and of the most that the device holds."""

    name: str
    weights: int
    at_once: int
    stays: bool
    """Whether they are on the device all the time."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of a model's weights, by component."""

    components: tuple[ComponentFootprint, ...]
    peak: int
    """The most that the device holds at once."""

    @property
    def weights(self) -> int:
        """All of them, wherever they lie; with offloading the host must hold these."""
        return sum(each.weights for each in self.components)


def device_bytes(
    card: ModelCard, *, dtype: str, offload: Offload = Offload.NONE, quantize: Mapping[str, str] | None = None
) -> Footprint:
    """What a model's weights take when it computes in ``dtype`` (a torch dtype by name).

    ``quantize`` are kinds of `Quantization` by component. Components without weights are left out.
    """
    parts = tuple(
        _component(each, dtype, offload, (quantize or {}).get(each.name))
        for each in card.components
        if each.dtype is not None
    )
    staying = sum(each.at_once for each in parts if each.stays)
    return Footprint(parts, staying + max(_moving(parts, card), default=0))


def advice(
    card: ModelCard, available: int, *, dtype: str, offload: Offload, quantize: Mapping[str, str]
) -> str | None:
    """Words for a device with too little memory (``available`` bytes) for a model; ``None`` if it fits.

    They name the first of the other ways to offload with which the weights would fit.
    """
    needed = device_bytes(card, dtype=dtype, offload=offload, quantize=quantize).peak
    if needed <= available:
        return None
    words = f"its weights take {_gib(needed)} GiB of the device's memory, which has {_gib(available)} GiB"
    for mode in (Offload.MODEL, Offload.GROUP, Offload.SEQUENTIAL):
        if mode is Offload.SEQUENTIAL and quantize:
            continue
        less = device_bytes(card, dtype=dtype, offload=mode, quantize=quantize).peak
        if less <= available:
            return f"{words}; with --offload {mode} they take {_gib(less)} GiB at once"
    return words


def _component(component: Component, dtype: str, offload: Offload, kind: str | None) -> ComponentFootprint:
    weights = round(_weights(component, dtype, kind))
    autoencoder = not quantizable(component)
    stays = (
        offload is Offload.NONE
        or component.name in _KEPT
        or (offload is Offload.GROUP and (autoencoder or kind == Quantization.NF4))
    )
    share = 1.0
    if not stays and offload in _AT_ONCE:
        share = _AT_ONCE[offload][component.library == "transformers"]
    return ComponentFootprint(component.name, weights, round(weights * share), stays)


def _weights(component: Component, dtype: str, kind: str | None) -> float:
    """Bytes of a component's weights when it computes in ``dtype`` and is stored as ``kind``."""
    count = component.size / _ITEM_BYTES.get(component.dtype or "", 2)
    item = _ITEM_BYTES[dtype]
    wide = _WIDE.get(component.class_name, 0.0)
    rounded, rounded_bytes = 0.0, 0.0
    if kind is not None:
        rounded = _LINEAR.get(component.class_name, _LINEAR_ELSEWHERE)
        rounded_bytes = STORAGES[Quantization(kind)].bytes_per_weight
        if kind == Quantization.NF4:
            rounded -= wide
        else:
            wide = 0.0
    more = _ITEM_BYTES["float32"] - item if dtype == "float16" else 0
    return count * (rounded * rounded_bytes + (1 - rounded) * item + wide * more)


def _moving(parts: tuple[ComponentFootprint, ...], card: ModelCard) -> Iterator[int]:
    """What is on the device besides the staying ones, at the times when it may be most.

    Components follow one another; but where a picture is an input, its autoencoder may stay while the
    denoiser works.
    """
    exact = {each.name for each in card.components if not quantizable(each)}
    moving = [each for each in parts if not each.stays]
    beside = sum(each.at_once for each in moving if each.name in exact)
    for each in moving:
        encodes = "encoder" in each.name or each.name in exact
        yield each.at_once if encodes else each.at_once + beside


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}"
