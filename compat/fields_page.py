"""The docs page of the fields: ``python -m compat.fields_page > docs/fields.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from compat.decisions import Row
from compat.fidelity import FIDELITY_STRENGTHS, VARIATION_STRENGTH
from compat.field_table import TABLE
from compat.mapped import Operation
from compat.quality import GUIDANCE_FACTORS, OLD_WORDS, STEP_FACTORS
from compat.synonyms import FIELD_SYNONYMS, SYNONYMS
from compat.tokens import PARTIAL_IMAGE, PATCH
from compat.vocabulary import OPENAI_FIELDS

_ROUTES: Final = {
    Operation.GENERATION: "generations",
    Operation.EDIT: "edits",
    Operation.VARIATION: "variations",
}

_HEAD: Final = """\
# What becomes of every field

This page is written from the table that the gateway's tests hold the mapping against
(`python -m compat.fields_page > docs/fields.md`).

* **honoured**: it means what it means at OpenAI's.
* **mapped**: it becomes something of the model's own.
* **ignored**: it has no effect, and the answer's `ignored` lists it with the reason. With the setting
  `strict` it is refused.
* **refused**: a 400 that names it.

A field marked with `+` is not OpenAI's on that route. Any parameter of the model itself is honoured on
every route under its own name. JSON `null` is an omission everywhere, and so is an empty field of a form.
Faults are reported in OpenAI's order: the model, unknown fields, the prompt, pictures, `n`, the rest.
"""

_STRICT: Final = """\
## With `strict`

The setting `strict` gives OpenAI's own answers:

* A model must be named, and not by `null`.
* Fields that are not OpenAI's on the route are refused as `unknown_parameter`: the model's own parameters,
  the seed, synonyms, everything marked with `+`.
* What would be ignored is refused, save `moderation`, `user` and `safety_identifier`.
* `quality` has no `standard` and `hd`, save under a DALL·E name; `xhigh` and `max` are not known to
  gpt-image names before 2.5.
* Under a gpt-image or chatgpt-image name, `response_format` and `style` are unknown, even as `null`, and
  sizes are OpenAI's: three for gpt-image-1, -1-mini and -1.5, any multiple of 16 within limits for others.
* Under the name `dall-e-3` one picture is made, of OpenAI's three sizes, from at most 4,000 characters; under
  `dall-e-2`, of its three sizes, from at most 1,000.
"""


_ON_WORDS: Final = """\
Steps and guidance are relative to the model's default; a preset may state other factors for `quality`.
Without `input_fidelity` an edit has the model's own strength. A parameter of the model that is given
decides over the word. A strength is never less than one step.

"""

_ON_NAMES: Final = """\
A synonym counts where the model has the parameter and it is not given itself. Any other unknown field is
refused with the names that come near it, or, with the setting `unknown_fields=report`, listed in
`ignored`. A field that carries a picture is always refused.

"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD, _fields(), _words(), _synonyms(), _STRICT, _rest()]
    return "\n".join(parts)


def _fields() -> str:
    head = ["field", "values", *_ROUTES.values()]
    return "## Fields\n\n" + _table(head, (_cells(row) for row in TABLE))


def _cells(row: Row) -> list[str]:
    first = described(row, Operation.GENERATION)
    cells = []
    for operation in _ROUTES:
        text = described(row, operation)
        if operation is not Operation.GENERATION and text == first:
            text = "as generations"
        own = row.field not in OPENAI_FIELDS[operation] and not _unknown(row, operation)
        cells.append(f"`+` {text}" if own else text)
    return [f"`{row.field}`", row.values, *cells]


def described(row: Row, operation: Operation) -> str:
    """The cases of one route in words: "**mapped** where the model has a strength: a strength; …"."""
    found = []
    for case in row.cases(operation):
        where = f" where {case.condition}" if case.condition else ""
        text = f": {case.text}" if case.text else ""
        found.append(f"**{case.decision}**{where}{text}")
    return "; otherwise ".join(found)


def _unknown(row: Row, operation: Operation) -> bool:
    return all(case.decision == "refused" for case in row.cases(operation))


def _words() -> str:
    steps = {word: f"x {factor:g}" for word, factor in STEP_FACTORS.items()}
    steps |= {word: f"as `{new}`" for word, new in OLD_WORDS.items()}
    rows = [(f"`quality` {word}", f"steps {text}") for word, text in steps.items()]
    rows += [(f"`style` {word}", f"guidance x {factor:g}") for word, factor in GUIDANCE_FACTORS.items()]
    rows += [
        (f"`input_fidelity` {word}", f"strength {strength:g}")
        for word, strength in FIDELITY_STRENGTHS.items()
    ]
    rows.append(("a variation without `input_fidelity`", f"strength {VARIATION_STRENGTH:g}"))
    return "## Words\n\n" + _ON_WORDS + _table(["word", "becomes"], rows)


def _synonyms() -> str:
    names = {**SYNONYMS, **FIELD_SYNONYMS}
    rows = [(f"`{name}`", f"`{real}`") for name, real in names.items()]
    return "## Other names\n\n" + _ON_NAMES + _table(["name", "is"], rows)


def _rest() -> str:
    return f"""\
## How pictures are handed over

`response_format` gets that one only. Without it the name that the caller used counts: gpt-image and
chatgpt-image names get base64, dall-e names get URLs, any other name gets both, for some clients read only
the one and some only the other. The setting `default_response_format` says otherwise. Where no URLs are
served, everything is base64. Events of a stream always carry base64.

## The size of an edit

Without `size`, or with `auto`, an edit has the size of the (first) picture, where the model makes it.

* A model of listed sizes draws the one nearest in shape, resampled to the picture's size where its
  preset allows that.
* A model of any size draws the nearest multiple, at its default area where the picture has less than a
  quarter of that or more than all of it.
* A model that takes no size draws at the picture's own.

## Usage

`usage` is always there. Text tokens are the pipeline's own tokenizer's. A picture, sent in or made,
counts one token for each patch of {PATCH} x {PATCH} pixels, a mask none, each partial image {PARTIAL_IMAGE}.
"""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
