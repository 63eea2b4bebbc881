"""The diffusers folders of the releases' weights, made of the modules in memory and never of the files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    KandinskyCombinedPipeline,
    KandinskyInpaintCombinedPipeline,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP
from transformers import (
    CLIPImageProcessor,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
    T5EncoderModel,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

from engines.conversion import kandinsky2, kandinsky2_text, kandinsky3
from engines.conversion.component import ConvertedComponent
from engines.conversion.movq import movq
from tests.originals import build
from tests.tiny import parts

_CLASSES: Final[Mapping[str, Any]] = {
    kind.__name__: kind for kind in (Kandinsky3UNet, UNet2DConditionModel, PriorTransformer, VQModel)
}


def kandinsky3_folder(release: Path, folder: Path, variant: build.Variant) -> Path:
    """Write the folder; ``release`` gives what is no original architecture: the text encoder."""
    encoder = release / "weights" / "flan_ul2_encoder"
    unet = kandinsky3.unet(
        build.kandinsky3_unet_of(variant).state_dict(), build.kandinsky3_projection(variant).state_dict()
    )
    pipeline = parts.made(
        Kandinsky3Pipeline,
        tokenizer=_from(T5Tokenizer, encoder),
        text_encoder=_from(T5EncoderModel, encoder),
        unet=_made(unet),
        scheduler=parts.made(DDPMScheduler, **kandinsky3.scheduler(None)),
        movq=_made(movq(build.kandinsky3_movq().state_dict())),
    )
    pipeline.save_pretrained(folder)
    return folder


def kandinsky21_folder(release: Path, folder: Path, *, inpainting: bool) -> Path:
    """Write the folder; ``release`` gives what is no original architecture: the CLIPs."""
    clip, text = release / "clip-vit-large-patch14", release / "text_encoder"
    stored = torch.load(text / "pytorch_model.bin", weights_only=True)
    encoder = kandinsky2_text.text_encoder(stored, json.loads((text / "config.json").read_bytes()))
    multilingual = parts.seeded(MultilingualCLIP, parts.made(MCLIPConfig, **encoder.config))
    multilingual.load_state_dict(dict(encoder.tensors))
    mean, deviation = build.clip_statistics()
    prior = kandinsky2.prior(build.kandinsky21_prior_model().state_dict(), mean, deviation)
    kind: Any = KandinskyInpaintCombinedPipeline if inpainting else KandinskyCombinedPipeline
    pipeline = kind(
        text_encoder=multilingual,
        tokenizer=_from(XLMRobertaTokenizer, text),
        unet=_made(kandinsky2.unet(build.kandinsky21_unet_of(inpainting=inpainting).state_dict())),
        scheduler=parts.made(DDIMScheduler, **kandinsky2.SCHEDULER),
        movq=_made(movq(build.kandinsky21_movq().state_dict())),
        prior_prior=_made(prior),
        prior_image_encoder=_from(CLIPVisionModelWithProjection, clip),
        prior_text_encoder=_from(CLIPTextModelWithProjection, clip),
        prior_tokenizer=_from(CLIPTokenizer, clip),
        prior_scheduler=parts.made(UnCLIPScheduler, **kandinsky2.PRIOR_SCHEDULER),
        prior_image_processor=_from(CLIPImageProcessor, clip),
    )
    pipeline.save_pretrained(folder)
    return folder


def _made(component: ConvertedComponent) -> Any:
    model = parts.made(_CLASSES[component.class_name], **component.config)
    model.load_state_dict({name: tensor.float() for name, tensor in component.tensors.items()}, strict=True)
    return model.eval()


def _from(kind: Any, folder: Path) -> Any:
    return kind.from_pretrained(folder, local_files_only=True)
