"""The original Kandinsky 2.1 networks, and MoVQ in both forms, draw the same once they are diffusers'."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn

from engines.conversion import kandinsky2
from engines.conversion.component import ConvertedComponent, check_against, meta_shapes
from engines.conversion.movq import movq
from engines.errors import NotLoadable
from tests.originals import kandinsky21_prior, kandinsky21_unet
from tests.originals import movq as original_movq

TINY_UNET = kandinsky21_unet.Size(
    model_channels=32,
    multipliers=(1, 2, 4),
    blocks=2,
    context_width=40,
    text_width=48,
    pooled_width=40,
    image_width=40,
)
TINY_INPAINTING = kandinsky21_unet.Size(
    in_channels=9,
    model_channels=32,
    multipliers=(1, 4),
    blocks=1,
    context_width=24,
    text_width=24,
    pooled_width=24,
    image_width=24,
)
TINY_PRIOR = kandinsky21_prior.Size(text_places=7, width=128, layers=2, clip_width=24)

# The configurations that diffusers' conversion script writes for the released files.
RELEASED_UNET: Mapping[str, Any] = MappingProxyType(
    {
        "addition_embed_type": "text_image",
        "attention_head_dim": 64,
        "block_out_channels": (384, 768, 1152, 1536),
        "cross_attention_dim": 768,
        "down_block_types": ("ResnetDownsampleBlock2D", *("SimpleCrossAttnDownBlock2D",) * 3),
        "encoder_hid_dim": 1024,
        "encoder_hid_dim_type": "text_image_proj",
        "in_channels": 4,
        "layers_per_block": 3,
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "out_channels": 8,
        "resnet_time_scale_shift": "scale_shift",
        "sample_size": 64,
        "up_block_types": (*("SimpleCrossAttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"),
    }
)
RELEASED_MOVQ: Mapping[str, Any] = MappingProxyType(
    {
        "block_out_channels": (128, 256, 256, 512),
        "down_block_types": (*("DownEncoderBlock2D",) * 3, "AttnDownEncoderBlock2D"),
        "latent_channels": 4,
        "layers_per_block": 2,
        "norm_type": "spatial",
        "num_vq_embeddings": 16384,
        "up_block_types": ("AttnUpDecoderBlock2D", *("UpDecoderBlock2D",) * 3),
        "vq_embed_dim": 4,
    }
)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def noisy(module: nn.Module) -> dict[str, Tensor]:
    """Draw every parameter anew, norms and biases too, so that no two are alike; give the state dict."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 0.2 if parameter.dim() == 1 else parameter[0].numel() ** -0.5
            centre = parameter.mean().round()
            parameter.copy_(centre + scale * torch.randn(parameter.shape, generator=generator))
    module.eval()
    return module.state_dict()


def diffusers_model(component: ConvertedComponent) -> Any:
    model = getattr(diffusers, component.class_name).from_config(component.config)
    model.load_state_dict(component.tensors, strict=True)
    return model.eval()


def largest_difference(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    assert expected.std() > 0.05, "an answer of nearly nothing would prove nothing"
    return float((found - expected).abs().max())


def prior_of(source: Mapping[str, Tensor]) -> ConvertedComponent:
    width = TINY_PRIOR.clip_width
    return kandinsky2.prior(source, random(1, width), random(2, width))


@pytest.fixture(scope="module")
def unet_weights() -> dict[str, Tensor]:
    return noisy(kandinsky21_unet.Text2ImUNet(TINY_UNET))


@pytest.fixture(scope="module")
def prior_weights() -> dict[str, Tensor]:
    return noisy(kandinsky21_prior.Prior(TINY_PRIOR))


@pytest.mark.parametrize("timesteps", [(0, 999), (17, 480)])
@pytest.mark.parametrize("size", [TINY_UNET, TINY_INPAINTING], ids=["text2img", "inpainting"])
@torch.no_grad()
def test_the_unet_predicts_the_same_noise(size: kandinsky21_unet.Size, timesteps: tuple[int, int]) -> None:
    original = kandinsky21_unet.Text2ImUNet(size)
    model = diffusers_model(kandinsky2.unet(MappingProxyType(noisy(original))))
    latents, times = random(3, 2, size.in_channels, 8, 12), torch.tensor(timesteps)
    text, pooled = random(4, 2, 5, size.text_width), random(5, 2, size.pooled_width)
    image = random(6, 2, size.image_width)

    expected = original(latents, times, text=text, pooled=pooled, image=image)
    added = {"text_embeds": pooled, "image_embeds": image}
    found = model(latents, times, encoder_hidden_states=text, added_cond_kwargs=added).sample

    assert largest_difference(found, expected) <= 1e-4


@pytest.mark.parametrize("timesteps", [(0, 999), (17, 480)])
@torch.no_grad()
def test_the_prior_predicts_the_same_embedding(timesteps: tuple[int, int]) -> None:
    size, original = TINY_PRIOR, kandinsky21_prior.Prior(TINY_PRIOR)
    model = diffusers_model(prior_of(MappingProxyType(noisy(original))))
    embedding, times = random(3, 2, size.clip_width), torch.tensor(timesteps)
    pooled, text = random(4, 2, size.clip_width), random(5, 2, size.text_places, size.clip_width)
    mask = torch.arange(size.text_places) < torch.tensor([[3], [size.text_places]])

    expected = original(embedding, times, text_embedding=pooled, text=text, mask=mask)
    found = model(embedding, times, pooled, text, mask).predicted_image_embedding

    assert largest_difference(found, expected) <= 1e-4


def test_the_prior_takes_clips_statistics_along(prior_weights: dict[str, Tensor]) -> None:
    model = diffusers_model(prior_of(prior_weights))
    sample = random(3, 2, TINY_PRIOR.clip_width)

    expected = sample * random(2, TINY_PRIOR.clip_width) + random(1, TINY_PRIOR.clip_width)

    assert torch.equal(model.post_process_latents(sample), expected)


@pytest.mark.parametrize(
    "original",
    [
        original_movq.kandinsky21(channels=32, multipliers=(1, 1, 2), blocks=2, codes=12),
        original_movq.kandinsky3(channels=32, multipliers=(1, 2, 2, 4), blocks=1),
    ],
    ids=["2.1", "3"],
)
@torch.no_grad()
def test_movq_encodes_and_decodes_the_same(original: original_movq.MoVQ) -> None:
    model = diffusers_model(movq(MappingProxyType(noisy(original))))
    picture, latents = random(3, 1, 3, 32, 48), random(4, 1, 4, 4, 6)

    assert largest_difference(model.encode(picture).latents, original.encode(picture)) <= 1e-4
    decoded = model.decode(latents, force_not_quantize=True).sample
    assert largest_difference(decoded, original.decode(latents)) <= 1e-4


@pytest.mark.parametrize("in_channels", [4, 9])
def test_the_released_unets_get_their_configuration(in_channels: int) -> None:
    source = on_meta(lambda: kandinsky21_unet.Text2ImUNet(kandinsky21_unet.Size(in_channels=in_channels)))
    assert whole_config(kandinsky2.unet(source)) == whole_config(
        ConvertedComponent("UNet2DConditionModel", {**RELEASED_UNET, "in_channels": in_channels}, {})
    )


def test_the_released_prior_gets_its_configuration() -> None:
    source = on_meta(lambda: kandinsky21_prior.Prior(kandinsky21_prior.Size()))
    component = kandinsky2.prior(source, torch.zeros(768), torch.zeros(768))
    assert whole_config(component) == whole_config(ConvertedComponent("PriorTransformer", {}, {}))


@pytest.mark.parametrize(
    ("build", "channels"),
    [
        (original_movq.kandinsky21, (128, 256, 256, 512)),
        (original_movq.kandinsky3, (256, 512, 512, 1024)),
    ],
)
def test_the_released_movqs_get_their_configuration(
    build: Callable[[], nn.Module], channels: tuple[int, ...]
) -> None:
    assert whole_config(movq(on_meta(build))) == whole_config(
        ConvertedComponent("VQModel", {**RELEASED_MOVQ, "block_out_channels": [*channels]}, {})
    )


def on_meta(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build().state_dict()


def whole_config(component: ConvertedComponent) -> dict[str, Any]:
    """The configuration with diffusers' defaults filled in."""
    with torch.device("meta"):
        config = getattr(diffusers, component.class_name).from_config(component.config).config
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in config.items()
        if not name.startswith("_")
    }


def test_nothing_is_copied_before_it_is_asked_for(prior_weights: dict[str, Tensor]) -> None:
    places = {tensor.untyped_storage().data_ptr() for tensor in prior_weights.values()}
    tensors = prior_of(prior_weights).tensors

    copied = {name for name, tensor in tensors.items() if tensor.untyped_storage().data_ptr() not in places}

    assert copied - {"clip_mean", "clip_std"} == {
        f"transformer_blocks.{block}.attn1.to_{part}.{kind}"
        for block in range(TINY_PRIOR.layers)
        for part in "qkv"
        for kind in ("weight", "bias")
    }
    one = tensors["transformer_blocks.0.attn1.to_q.weight"]
    assert one is not tensors["transformer_blocks.0.attn1.to_q.weight"]


def test_the_codebook_that_kandinsky_3_leaves_away_is_filled_in() -> None:
    component = movq(original_movq.kandinsky3(channels=32).state_dict())
    assert component.config["num_vq_embeddings"] == 16384
    assert not component.tensors["quantize.embedding.weight"].any()


def test_half_precision_stays_half_precision() -> None:
    component = movq(original_movq.kandinsky3(channels=32).half().state_dict())
    assert {tensor.dtype for tensor in component.tensors.values()} == {torch.float16}


def test_a_priors_saved_buffers_are_left_behind(prior_weights: dict[str, Tensor]) -> None:
    buffers = {
        name: torch.zeros(1) for name in ("clip_mean", "clip_std", "causal_mask", "cf_token", "cf_mask")
    }
    assert prior_of(prior_weights | buffers).tensors.keys() == prior_of(prior_weights).tensors.keys()


def test_a_prior_may_have_been_unwrapped(prior_weights: dict[str, Tensor]) -> None:
    bare = {name.removeprefix("model."): tensor for name, tensor in prior_weights.items()}
    assert prior_of(bare).tensors.keys() == prior_of(prior_weights).tensors.keys()


def test_a_missing_tensor_is_named(unet_weights: dict[str, Tensor]) -> None:
    del (rest := dict(unet_weights))["input_blocks.2.0.out_layers.3.bias"]
    with pytest.raises(NotLoadable, match=r"lacks 1 tensor: down_blocks\.0\.resnets\.1\.conv2\.bias$"):
        kandinsky2.unet(rest)


def test_a_missing_tensor_that_tells_the_size_is_named(unet_weights: dict[str, Tensor]) -> None:
    del (rest := dict(unet_weights))["to_model_dim_n.weight"]
    with pytest.raises(NotLoadable, match=r"the file lacks to_model_dim_n\.weight"):
        kandinsky2.unet(rest)


def test_missing_blocks_are_counted(unet_weights: dict[str, Tensor]) -> None:
    rest = {name: tensor for name, tensor in unet_weights.items() if not name.startswith("output_blocks.8.")}
    with pytest.raises(NotLoadable, match="holds 8 output blocks, which 3 levels cannot share"):
        kandinsky2.unet(rest)


def test_tensors_without_a_place_are_named(prior_weights: dict[str, Tensor]) -> None:
    with pytest.raises(NotLoadable, match="has no place for 1 tensor: padding_embedding"):
        prior_of(prior_weights | {"model.padding_embedding": torch.zeros(11, 128)})


def test_a_tensor_held_twice_is_refused(prior_weights: dict[str, Tensor]) -> None:
    with pytest.raises(NotLoadable, match=r"holds norm_out\.bias .* twice"):
        prior_of(prior_weights | {"final_ln.bias": torch.zeros(128)})


def test_three_of_many_are_named(prior_weights: dict[str, Tensor]) -> None:
    rest = {name: tensor for name, tensor in prior_weights.items() if ".0.mlp." not in name}
    with pytest.raises(NotLoadable, match=r"lacks 4 tensors: (\S+, ){2}\S+ and 1 more$"):
        prior_of(rest)


def test_another_shape_is_told_with_both(unet_weights: dict[str, Tensor]) -> None:
    odd = unet_weights | {"time_embed.2.bias": torch.zeros(5)}
    with pytest.raises(
        NotLoadable, match=re.escape("time_embedding.linear_2.bias is (5,) instead of (128,)")
    ):
        kandinsky2.unet(odd)


def test_attention_must_fall_into_whole_heads(unet_weights: dict[str, Tensor]) -> None:
    odd = unet_weights | {"middle_block.1.qkv.weight": torch.zeros(300, 128, 1)}
    with pytest.raises(NotLoadable, match=r"middle_block\.1\.qkv\.weight .* no whole heads of 64"):
        kandinsky2.unet(odd)


def test_sizes_that_diffusers_refuses_are_not_loadable() -> None:
    component = ConvertedComponent("VQModel", {"block_out_channels": [33]}, {})
    with pytest.raises(NotLoadable, match="no such sizes"):
        meta_shapes(component)


def test_plain_dictionaries_are_checked_too() -> None:
    component = ConvertedComponent("VQModel", {}, {"a": torch.zeros(2), "b": torch.zeros(1)})
    check_against(component, {"a": (2,), "b": (1,)}, "a toy")
    with pytest.raises(NotLoadable, match=re.escape("b is (1,) instead of (3,)")):
        check_against(component, {"a": (2,), "b": (3,)}, "a toy")


@pytest.mark.parametrize("convert", [kandinsky2.unet, prior_of, movq])
def test_a_file_of_something_else_is_refused(
    convert: Callable[[Mapping[str, Tensor]], ConvertedComponent],
) -> None:
    with pytest.raises(NotLoadable):
        convert({"weight": torch.zeros(3, 3)})
