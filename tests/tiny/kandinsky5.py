"""Kandinsky 5 text to image. It always draws about one megapixel, whatever the size asked for."""

from __future__ import annotations

from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler, Kandinsky5T2IPipeline, Kandinsky5Transformer3DModel
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from tests.tiny import parts, tokenizers


def text_to_image() -> Any:
    """Text to image."""
    transformer = parts.seeded(
        Kandinsky5Transformer3DModel,
        in_visual_dim=16,
        in_text_dim=32,
        in_text_dim2=32,
        time_dim=32,
        out_visual_dim=16,
        patch_size=(1, 2, 2),
        model_dim=16,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(4, 6, 6),
        visual_cond=False,
        attention_type="regular",
    )
    vae = parts.vae(
        16,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        mid_block_add_attention=False,
    )
    return parts.made(
        Kandinsky5T2IPipeline,
        transformer=parts.noisy(transformer, 0.3),
        vae=vae,
        scheduler=parts.made(FlowMatchEulerDiscreteScheduler, shift=7.0),
        **_qwen_text(),
        **parts.second(parts.clip_text(projection=False)),
    )


def _qwen_text() -> dict[str, Any]:
    """``tokenizer`` and ``text_encoder``.

    A bare tokenizer stands for the real model's Qwen2VLProcessor, whose video half needs
    torchvision: text to image only tokenizes.
    """
    tokenizer = tokenizers.qwen()
    number = {name.strip("<|>"): tokenizer.convert_tokens_to_ids(name) for name in tokenizers.QWEN_SPECIALS}
    text = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "bos_token_id": number["endoftext"],
        "eos_token_id": number["im_end"],
        "rope_parameters": {"mrope_section": [2, 2, 4], "rope_type": "default", "rope_theta": 1e6},
        "max_position_embeddings": 4096,
    }
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
    config = parts.made(
        Qwen2_5_VLConfig,
        text_config=text,
        vision_config=vision,
        vision_start_token_id=number["vision_start"],
        vision_end_token_id=number["vision_end"],
        vision_token_id=number["vision_pad"],
        image_token_id=number["image_pad"],
        video_token_id=number["video_pad"],
    )
    return {"tokenizer": tokenizer, "text_encoder": parts.seeded(Qwen2_5_VLForConditionalGeneration, config)}
