"""Folders of original weights as people have them, at tiny size.

The modules made here hold just what the folders' files do: the same name gives the same weights every time,
no two parameters are alike, and all are rounded to half precision, in which they are saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import torch
from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, XLMRobertaConfig
from transformers.utils.logging import disable_progress_bar

from tests.originals import kandinsky3_unet, kandinsky21_prior, kandinsky21_unet, movq
from tests.tiny import kandinsky5 as tiny_kandinsky5
from tests.tiny import parts, tokenizers

Variant = Literal["base", "flash", "inpainting"]
Module = TypeVar("Module", bound=nn.Module)

VARIANTS: Final[Mapping[Variant, str]] = {"base": "", "flash": "_flash", "inpainting": "_inpainting"}
"""What the names of a variant's weights and of its text projection end in."""

KANDINSKY3_SIZES: Final[Mapping[Variant, kandinsky3_unet.Size]] = {
    variant: kandinsky3_unet.Size(
        in_channels=9 if variant == "inpainting" else 4,
        widths=(64, 64, 64, 64),
        blocks=2,
        time_width=64,
        context_width=48,
    )
    for variant in VARIANTS
}
PRIOR_SIZE: Final = kandinsky21_prior.Size(width=128, layers=2, clip_width=32)
# The released proportions. With (1, 2, 2, 2), a folder is 3.8 MB smaller.
MOVQ_MULTIPLIERS: Final = (1, 2, 2, 4)

_T5_WIDTH: Final = 32
_XLM_WIDTH: Final = 48
_CLIP_WIDTH: Final = 32


def kandinsky3(
    folder: Path, *, suffix: str = ".pt", variant: Variant = "base", release: Literal["3.0", "3.1"] = "3.1"
) -> Path:
    """Write ``weights/`` of ai-forever/Kandinsky3.1 with one UNet, and return that UNet's file.

    A second call adds another variant to the same folder. The 3.0 release keeps the text projection in the
    UNet's file, where 3.1 has all three projections beside the text encoder.

    Args:
        suffix: of the UNet's file: ``.pt``, ``.ckpt`` or ``.safetensors``; the last is one flat dict.
    """
    weights = folder / "weights"
    encoder = weights / "flan_ul2_encoder"
    encoder.mkdir(parents=True, exist_ok=True)
    _save(parts.t5_text(), encoder)
    torch.save(_halves(kandinsky3_movq()), weights / "movq.pt")
    path = weights / f"kandinsky3{VARIANTS[variant]}{suffix}"
    unet, null = _halves(kandinsky3_unet_of(variant)), null_embedding().half()
    if release == "3.1":
        for each, ending in VARIANTS.items():
            torch.save(_halves(kandinsky3_projection(each)), encoder / f"projection{ending}.pt")
    if suffix == ".safetensors":
        save_file({**unet, "null_embedding": null}, path)
        return path
    content: dict[str, Any] = {"unet": unet, "null_embedding": null}
    if release == "3.0":
        projection = _halves(kandinsky3_projection(variant))
        content["projections"] = {f"t5.{name}": value for name, value in projection.items()}
    torch.save(content, path)
    return path


def kandinsky21(folder: Path) -> Path:
    """Write ai-forever/Kandinsky_2.1 and, beside it, openai/clip-vit-large-patch14; return ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(_halves(kandinsky21_unet_of(inpainting=False)), folder / "decoder_fp16.ckpt")
    torch.save(_halves(kandinsky21_unet_of(inpainting=True)), folder / "inpainting_fp16.ckpt")
    torch.save(_halves(kandinsky21_prior_model()), folder / "prior_fp16.ckpt")
    torch.save(_halves(kandinsky21_movq()), folder / "movq_final.ckpt")
    torch.save(clip_statistics(), folder / "ViT-L-14_stats.th")
    _multilingual_clip(folder / "text_encoder")
    _clip(folder / "clip-vit-large-patch14")
    return folder


def kandinsky5(folder: Path) -> Path:
    """Write what Kandinsky 5's own code downloads into ``weights/``, and return the transformer's file."""
    pipeline = tiny_kandinsky5.text_to_image()
    path = folder / "model" / "kandinsky5lite_t2i.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(pipeline.transformer.state_dict(), path)
    parts.made(disable_progress_bar)
    pipeline.vae.save_pretrained(folder / "vae")
    qwen = {"tokenizer": pipeline.tokenizer, "text_encoder": pipeline.text_encoder}
    _save(qwen, folder / "text_encoder")
    _clip(folder / "text_encoder2")
    return path


def kandinsky3_unet_of(variant: Variant) -> kandinsky3_unet.UNet:
    """The UNet in ``kandinsky3.pt``, or in its Flash or inpainting variant."""
    return _varied(kandinsky3_unet.UNet(KANDINSKY3_SIZES[variant]), f"unet{VARIANTS[variant]}")


def kandinsky3_projection(variant: Variant) -> nn.Sequential:
    """The text projection of a variant."""
    context_width = KANDINSKY3_SIZES[variant].context_width
    projection = kandinsky3_unet.text_projection(_T5_WIDTH, context_width)
    return _varied(projection, f"projection{VARIANTS[variant]}")


def kandinsky3_movq() -> movq.MoVQ:
    """The autoencoder in ``movq.pt``."""
    return _varied(movq.kandinsky3(channels=32, multipliers=MOVQ_MULTIPLIERS, blocks=1), "movq3")


def null_embedding() -> Tensor:
    """What Kandinsky 3 reads instead of a negative prompt, (context_width,), after the projection."""
    return 0.5 * torch.randn(KANDINSKY3_SIZES["base"].context_width, generator=_generator("null"))


def kandinsky21_unet_of(*, inpainting: bool) -> kandinsky21_unet.Text2ImUNet:
    """The UNet in ``decoder_fp16.ckpt`` or in ``inpainting_fp16.ckpt``."""
    size = kandinsky21_unet.Size(
        in_channels=9 if inpainting else 4,
        model_channels=32,
        multipliers=(1, 2, 2, 2),
        blocks=1,
        context_width=_CLIP_WIDTH,
        text_width=_XLM_WIDTH,
        pooled_width=_CLIP_WIDTH,
        image_width=_CLIP_WIDTH,
    )
    return _varied(kandinsky21_unet.Text2ImUNet(size), f"unet21{inpainting}")


def kandinsky21_prior_model() -> kandinsky21_prior.Prior:
    """The prior in ``prior_fp16.ckpt``."""
    return _varied(kandinsky21_prior.Prior(PRIOR_SIZE), "prior")


def kandinsky21_movq() -> movq.MoVQ:
    """The autoencoder in ``movq_final.ckpt``."""
    return _varied(movq.kandinsky21(channels=32, multipliers=MOVQ_MULTIPLIERS, blocks=1, codes=16), "movq21")


def clip_statistics() -> tuple[Tensor, Tensor]:
    """Mean and deviation (clip_width,) of CLIP's image embeddings, as in ``ViT-L-14_stats.th``."""
    generator = _generator("statistics")
    mean = 0.1 * torch.randn(_CLIP_WIDTH, generator=generator)
    return mean, 0.5 + torch.rand(_CLIP_WIDTH, generator=generator)


def _multilingual_clip(folder: Path) -> None:
    """A text encoder of which transformers knows only the XLM-RoBERTa part, and its tokenizer."""
    tokenizer = tokenizers.xlm_roberta()
    size: dict[str, Any] = {
        "hidden_size": _XLM_WIDTH,
        "intermediate_size": 37,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "pad_token_id": 1,
    }
    wide = {"transformerDimensions": _XLM_WIDTH, "numDims": _CLIP_WIDTH}
    model = parts.seeded(MultilingualCLIP, parts.made(MCLIPConfig, **size, **wide))
    XLMRobertaConfig(**size, architectures=["XLMRobertaForMaskedLM"]).save_pretrained(folder)
    # The transformers of its time saved the positions too.
    positions = {"transformer.embeddings.position_ids": torch.arange(514)[None]}
    torch.save({**positions, **model.state_dict()}, folder / "pytorch_model.bin")
    tokenizer.save_pretrained(folder)


def _clip(folder: Path) -> None:
    """CLIP's two halves in one model, with its tokenizer and its image processor."""
    text, vision = parts.clip_text(projection=True), parts.clip_vision()
    config = parts.made(
        CLIPConfig,
        text_config=text["text_encoder"].config.to_dict(),
        vision_config=vision["image_encoder"].config.to_dict(),
        projection_dim=_CLIP_WIDTH,
    )
    _save({"model": parts.seeded(CLIPModel, config)}, folder)
    text["tokenizer"].save_pretrained(folder)
    vision["image_processor"].save_pretrained(folder)


def _save(components: Mapping[str, Any], folder: Path) -> None:
    """Write a model and what belongs to it into one folder."""
    parts.made(disable_progress_bar)
    for component in components.values():
        component.save_pretrained(folder)


def _varied(module: Module, name: str) -> Module:
    """Give all parameters weights of their own, also those that start at zero or one, of half precision.

    A norm whose weights are ones, or a modulation whose weights are zeros, could be any other's.
    """
    generator = _generator(name)
    with torch.no_grad():
        for parameter in module.parameters():
            spread = 0.05 if parameter.dim() < 2 else 1.0 / parameter[0].numel() ** 0.5
            middle = 1.0 if parameter.dim() < 2 and parameter.mean() > 0.9 else 0.0
            parameter.copy_((middle + spread * torch.randn(parameter.shape, generator=generator)).half())
    return module.eval()


def _halves(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.half() for name, value in module.state_dict().items()}


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(int.from_bytes(name.encode()) % 2**63)
