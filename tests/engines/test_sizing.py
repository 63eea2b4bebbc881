"""Size rules read from the code of real pipeline classes."""

import diffusers
import pytest

from engines.schema import SizeRounding
from engines.sizing import LARGEST_EDGE, size_rule


@pytest.mark.parametrize(
    ("name", "multiple", "rounding"),
    [
        ("Kandinsky3Pipeline", 64, SizeRounding.UP),
        ("KandinskyV22CombinedPipeline", 64, SizeRounding.UP),
        ("KandinskyCombinedPipeline", 64, SizeRounding.UP),
        ("StableDiffusionPipeline", 8, SizeRounding.REFUSES),
        ("StableDiffusion3Pipeline", 16, SizeRounding.REFUSES),
        ("FluxPipeline", 16, SizeRounding.DOWN),
    ],
)
def test_multiple_and_rounding_are_read_from_the_class(
    name: str, multiple: int, rounding: SizeRounding
) -> None:
    rule = size_rule(getattr(diffusers, name))
    assert (rule.multiple, rule.rounding) == (multiple, rounding)
    assert (rule.minimum, rule.maximum) == (multiple, LARGEST_EDGE)


def test_fixed_sizes_are_read_from_the_constructor() -> None:
    rule = size_rule(diffusers.Kandinsky5T2IPipeline)
    assert rule.rounding is SizeRounding.FIXED
    assert len(rule.fixed) == 7
    assert (1024, 1024) in rule.fixed


def test_position_embeddings_limit_the_edge() -> None:
    class Config:
        pos_embed_max_size = 96
        patch_size = 2

    class Transformer:
        config = Config()

    class Live(diffusers.StableDiffusion3Pipeline):
        def __init__(self) -> None:
            self.transformer = Transformer()
            self.vae_scale_factor = 8
            self.patch_size = 2

        def __getattr__(self, name: str) -> object:
            raise AttributeError(name)

    assert size_rule(diffusers.StableDiffusion3Pipeline, Live()).maximum == 96 * 2 * 8
