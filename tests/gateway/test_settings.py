"""Settings: where they come from, what they refuse, where they are written down."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.settings import from_environment
from gateway.settings_page import page

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_committed_page_lists_every_setting() -> None:
    assert PAGE.read_text() == page()


def test_lists_have_commas() -> None:
    found = from_environment({"KANDINSKY_CORS_ORIGINS": "https://a.example, https://b.example,"})
    assert found.cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KANDINSKY_URL_SECONDS", "60"),
        ("KANDINSKY_TRUSTED_PROXIES", "nginx"),
        ("KANDINSKY_UNKNOWN_FIELDS", "ignore"),
    ],
)
def test_value_that_cannot_be_is_named(variable: str, value: str) -> None:
    with pytest.raises(ValidationError) as raised:
        from_environment({variable: value})
    assert raised.value.errors()[0]["loc"][0] == variable.removeprefix("KANDINSKY_").lower()
