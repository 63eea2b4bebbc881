"""What is said of memory that was not there: arithmetic over plain numbers."""

from __future__ import annotations

import pytest

from engines.exhaustion import Extent, Measured, shortage

GIB = 2**30
MEGAPIXEL = Measured(1024 * 1024, 4 * GIB)


def test_what_is_needed_grows_with_the_pixels_that_were_measured() -> None:
    found = shortage(Extent(2048, 1024), free=6 * GIB, measured=MEGAPIXEL)
    assert found.needed_bytes == 8 * GIB
    assert found.free_bytes == 6 * GIB


def test_a_call_that_got_further_than_the_estimate_needs_at_least_that() -> None:
    found = shortage(Extent(1024, 1024), free=3 * GIB, reached=5 * GIB, measured=MEGAPIXEL)
    assert found.needed_bytes == 5 * GIB


def test_fewer_pictures_of_the_size_are_proposed_before_smaller_ones() -> None:
    asked = Extent(1024, 1024, count=4)
    assert shortage(asked, free=10 * GIB, measured=MEGAPIXEL).fitting == Extent(1024, 1024, 2)
    assert shortage(asked, free=5 * GIB, measured=MEGAPIXEL).fitting == Extent(1024, 1024)


def test_a_smaller_picture_keeps_its_shape_and_fits() -> None:
    fitting = shortage(Extent(2048, 1024), free=3 * GIB, measured=MEGAPIXEL).fitting
    assert fitting == Extent(1152, 576)
    assert fitting.pixels * 4 * GIB / 1024**2 <= 3 * GIB


def test_where_the_estimate_was_wrong_half_is_proposed_and_no_number_told() -> None:
    found = shortage(Extent(1024, 1024), free=100 * GIB, measured=MEGAPIXEL)
    assert found.needed_bytes is None
    assert found.fitting is not None
    assert found.fitting.pixels <= 1024 * 1024 // 2


@pytest.mark.parametrize(
    ("asked", "free", "measured", "words"),
    [
        (
            Extent(2048, 2048),
            4 * GIB,
            MEGAPIXEL,
            "2048x2048 needs about 16.0 GiB beside the weights, and 4.0 GiB are free; try 960x960",
        ),
        (
            Extent(1024, 1024, 4),
            9 * GIB,
            MEGAPIXEL,
            "1024x1024, 4 at once, needs about 16.0 GiB beside the weights, and 9.0 GiB are free; "
            "try 2 images at once",
        ),
        (
            Extent(1024, 1024),
            GIB,
            None,
            "1024x1024 needs more beside the weights, and 1.0 GiB are free; smaller or fewer images may fit",
        ),
        (Extent(512, 512), None, None, "512x512 needs more than there is; smaller or fewer images may fit"),
    ],
)
def test_the_words_name_what_was_asked_and_what_may_fit(
    asked: Extent, free: int | None, measured: Measured | None, words: str
) -> None:
    assert str(shortage(asked, free=free, measured=measured)) == words
