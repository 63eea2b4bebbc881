"""Kandinsky 3's UNet computes the same in diffusers as in an independent writing of the original."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import Kandinsky3UNet, Kandinsky5Transformer3DModel
from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP

from engines.conversion import kandinsky2_text, kandinsky3, kandinsky5
from engines.conversion.component import ConvertedComponent
from engines.errors import NotLoadable
from tests.originals import build
from tests.tiny import kandinsky5 as tiny_kandinsky5
from tests.tiny import parts

WORDS = 5


def made(component: ConvertedComponent) -> Any:
    model: Any = parts.made(Kandinsky3UNet, **component.config)
    model.load_state_dict({name: tensor.float() for name, tensor in component.tensors.items()}, strict=True)
    return model.eval()


@pytest.mark.parametrize("variant", ["base", "flash", "inpainting"])
@pytest.mark.parametrize("time", [0, 17, 999])
@torch.no_grad()
def test_the_unet_computes_as_the_original_does(variant: build.Variant, time: int) -> None:
    original = build.kandinsky3_unet_of(variant).eval()
    projection = build.kandinsky3_projection(variant).eval()
    unet = made(kandinsky3.unet(original.state_dict(), projection.state_dict()))
    generator = torch.Generator().manual_seed(time)
    channels = 9 if variant == "inpainting" else 4
    latents = torch.randn(2, channels, 16, 16, generator=generator)
    embeddings = torch.randn(2, WORDS, 32, generator=generator)
    mask = torch.ones(2, WORDS)
    times = torch.tensor([time, time])

    expected = original(latents, times.float(), projection(embeddings), mask)
    found = unet(
        latents, times, encoder_hidden_states=embeddings, encoder_attention_mask=mask, return_dict=False
    )[0]

    assert expected.std() > 0.1
    # The sinusoids of large times differ in their last digits.
    assert (found[:, :4] - expected).abs().max() < (5e-4 if time else 1e-5)
    assert not found[:, 4:].any()


def test_a_missing_projection_is_told() -> None:
    original = build.kandinsky3_unet_of("base")

    with pytest.raises(NotLoadable, match=r"lacks 0\.weight, a tensor of the text projection"):
        kandinsky3.unet(original.state_dict(), {})


def test_kandinsky_5_s_configuration_is_found_from_its_shapes() -> None:
    transformer = tiny_kandinsky5.text_to_image().transformer

    component = kandinsky5.transformer(transformer.state_dict())

    wanted = {
        name: list(value) if isinstance(value, tuple) else value for name, value in transformer.config.items()
    }
    assert {name: wanted[name] for name in component.config} == component.config
    made = parts.made(Kandinsky5Transformer3DModel, **component.config)
    made.load_state_dict(dict(component.tensors), strict=True)


def test_the_multilingual_clip_s_configuration_is_found_from_its_shapes() -> None:
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = parts.made(
        MCLIPConfig,
        transformerDimSize=64,
        imageDimSize=32,
        vocab_size=99,
        max_position_embeddings=20,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        **sizes,
    )
    original = parts.seeded(MultilingualCLIP, config)
    component = kandinsky2_text.text_encoder(original.state_dict(), {"num_attention_heads": 4})
    encoder = parts.seeded(MultilingualCLIP, parts.made(MCLIPConfig, **component.config))
    encoder.load_state_dict(dict(component.tensors))
    words, mask = torch.tensor([[0, 5, 7, 2, 1]]), torch.tensor([[1, 1, 1, 1, 0]])

    assert all(
        torch.allclose(found, expected, atol=1e-6)
        for found, expected in zip(encoder(words, mask), original(words, mask), strict=True)
    )
