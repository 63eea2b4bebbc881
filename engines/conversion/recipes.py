"""What a release's files are converted to: for each family, the components and the samplers' settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch
from pydantic import JsonValue

from engines.card import Family, ModelCard
from engines.conversion import kandinsky2, kandinsky2_text, kandinsky3, kandinsky5, movq
from engines.conversion.component import ConvertedComponent
from engines.conversion.reading import open_tensors
from engines.errors import NotLoadable
from engines.formats import content
from engines.formats.diffusers_folder import weights_in
from engines.formats.layouts import PROJECTIONS


@dataclass(frozen=True)
class Sources:
    """The parts of a model by their roles."""

    card: ModelCard

    def open(self, role: str) -> dict[str, torch.Tensor]:
        """The tensors of a part, mapped."""
        place = self.path(role)
        if place.is_file():
            return open_tensors(place)
        stored = weights_in(place)
        if stored is None:
            raise NotLoadable(self.card.name, f"{place.name}/ has no weight file any more")
        return {name: tensor for file in stored.files for name, tensor in open_tensors(file).items()}

    def path(self, role: str) -> Path:
        """Where a part lies."""
        place = self.card.source(role)
        assert place is not None, "a described card has a source for every role of its layout"
        return place


Convert = Callable[[Sources], ConvertedComponent]


def _prior(sources: Sources) -> ConvertedComponent:
    stats = sources.open("clip_stats")
    return kandinsky2.prior(sources.open("prior"), stats["0"], stats["1"])


def _text_encoder_2_1(sources: Sources) -> ConvertedComponent:
    stated = content.read_object(sources.path("text_encoder") / "config.json")
    return kandinsky2_text.text_encoder(sources.open("text_encoder"), stated)


def _unet_3(sources: Sources) -> ConvertedComponent:
    if sources.card.source("projection") is not None:
        return kandinsky3.unet(sources.open("unet"), sources.open("projection"))
    within = open_tensors(sources.path("unet"), PROJECTIONS)
    projection = {name.removeprefix("t5."): tensor for name, tensor in within.items()}
    return kandinsky3.unet(sources.open("unet"), projection)


_COMPONENTS: Final[Mapping[Family, Mapping[str, Convert]]] = MappingProxyType(
    {
        Family.KANDINSKY_2_1: {
            "text_encoder": _text_encoder_2_1,
            "unet": lambda sources: kandinsky2.unet(sources.open("unet")),
            "movq": lambda sources: movq.movq(sources.open("movq")),
            "prior_prior": _prior,
        },
        Family.KANDINSKY_3: {
            "unet": _unet_3,
            "movq": lambda sources: movq.movq(sources.open("movq")),
        },
        Family.KANDINSKY_5: {
            "transformer": lambda sources: kandinsky5.transformer(sources.open("transformer")),
        },
    }
)


def components_of(card: ModelCard) -> Mapping[str, Convert]:
    """The components that are converted, by name, each with what makes it."""
    return _COMPONENTS[card.family]


def schedulers_of(card: ModelCard) -> dict[str, dict[str, JsonValue]]:
    """The samplers' configurations, by component."""
    if card.family is Family.KANDINSKY_3:
        if card.variant == "flash":
            return {"scheduler": {}}
        return {"scheduler": kandinsky3.scheduler(card.variant)}
    if card.family is Family.KANDINSKY_5:
        return {"scheduler": dict(kandinsky5.SCHEDULER)}
    return {"scheduler": dict(kandinsky2.SCHEDULER), "prior_scheduler": dict(kandinsky2.PRIOR_SCHEDULER)}
