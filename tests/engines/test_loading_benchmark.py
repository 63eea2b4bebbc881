"""The model that loading is measured with is one that loads."""

from __future__ import annotations

import pytest

from benchmarks.loading_model import Forms, make
from engines.detection import detect


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Forms:
    """The model in all forms, as small as it gets."""
    return make(tmp_path_factory.mktemp("measured"), 0.01)


@pytest.mark.parametrize("form", ["folder", "pack", "original"])
def test_every_form_is_a_kandinsky_3_in_16_bits(forms: Forms, form: str) -> None:
    card = detect(getattr(forms, form))
    assert (card.loadable, card.pipeline_class, card.dtype) == (True, "Kandinsky3Pipeline", "float16")


def test_it_is_made_once(forms: Forms) -> None:
    made = forms.pack.stat().st_mtime_ns
    assert make(forms.root, 0.01).pack.stat().st_mtime_ns == made
