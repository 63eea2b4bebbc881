"""Descriptions out of docstrings."""

from engines.docstrings import first_sentence, parameter_descriptions

TEXT = """
    Draws. And more.

    Args:
        prompt (`str` or `list[str]`, *optional*):
            What to draw. A second
            line: with a colon.
        height (`int`, *optional*, defaults to 512): How high.

    Examples:
        steps (`int`): not a parameter
    """


def test_descriptions_are_joined_without_types_and_defaults() -> None:
    assert parameter_descriptions(TEXT) == {
        "prompt": "What to draw. A second line: with a colon.",
        "height": "How high.",
    }


def test_nothing_is_found_where_nothing_is_written() -> None:
    assert parameter_descriptions(None) == {}
    assert parameter_descriptions("Draws.") == {}


def test_first_sentence_ends_at_its_full_stop() -> None:
    assert first_sentence(TEXT) == "Draws."
