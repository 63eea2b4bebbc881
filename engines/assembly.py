"""One component made of its configuration and of tensors that lie in a file with other things."""

from __future__ import annotations

import json
from typing import Any, Final

import torch

from engines.conversion.reading import map_part, open_tensors
from engines.errors import NotLoadable
from engines.formats import weights
from engines.formats.diffusers_folder import StoredComponent
from engines.pickles import require_safe

_MOST_NAMED: Final = 3


def lies_elsewhere(stored: StoredComponent) -> bool:
    """Whether a component's weights are not in its folder in a form that the libraries read.

    They refuse pickles with classes of their own, and advise to open them without any guard.

    Raises:
        NotLoadable: it is a pickle, and none can be opened safely.
    """
    if stored.weights is None:
        return False
    if stored.weights.pickled:
        require_safe(stored.weights.files[0].name)
        if any(weights.read(file).foreign for file in stored.weights.files):
            return True
    return stored.weights.files[0].parent != stored.folder


def assemble(stored: StoredComponent, kind: Any, dtype: torch.dtype) -> torch.nn.Module:
    """The component, its weights mapped from the file and cast only where ``dtype`` differs.

    Raises:
        NotLoadable: weights are missing.
    """
    tensors = stored_tensors(stored)
    if stored.library == "diffusers" or hasattr(kind, "from_config"):
        return _diffusers(stored, kind, tensors, dtype)
    config = kind.config_class.from_pretrained(str(stored.folder), local_files_only=True)
    model: torch.nn.Module = kind.from_pretrained(None, config=config, state_dict=tensors, dtype=dtype)
    return model


def stored_tensors(stored: StoredComponent) -> dict[str, torch.Tensor]:
    """The tensors of a component that lies elsewhere, by the names that its class knows, mapped."""
    assert stored.weights is not None
    prefix = stored.weights.prefix
    found: dict[str, torch.Tensor] = {}
    for file in stored.weights.files:
        found |= map_part(file, prefix) if prefix else open_tensors(file)
    return found


def _diffusers(
    stored: StoredComponent, kind: Any, tensors: dict[str, torch.Tensor], dtype: torch.dtype
) -> torch.nn.Module:
    from accelerate import init_empty_weights

    config = json.loads((stored.folder / "config.json").read_bytes())
    with init_empty_weights(include_buffers=False):
        model: torch.nn.Module = kind.from_config(config)
    kept = tuple(getattr(kind, "_keep_in_fp32_modules", None) or ())
    typed = {name: _cast(name, tensor, kept, dtype) for name, tensor in tensors.items()}
    missing, surplus = model.load_state_dict(typed, strict=False, assign=True)
    if missing or surplus:
        words = [f"lacks {', '.join(missing[:_MOST_NAMED])}"] if missing else []
        words += [f"has no place for {', '.join(surplus[:_MOST_NAMED])}"] if surplus else []
        raise NotLoadable(stored.name, f"the component {stored.name} {' and '.join(words)}")
    return model.requires_grad_(True)


def _cast(name: str, tensor: torch.Tensor, kept: tuple[str, ...], dtype: torch.dtype) -> torch.Tensor:
    """As diffusers casts: what is computed in 32 bits stays so, integers stay integers."""
    if not tensor.is_floating_point():
        return tensor
    in_32_bits = any(part in name.split(".") for part in kept)
    return tensor.to(torch.float32 if in_32_bits else dtype)
