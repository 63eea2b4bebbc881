"""The sizes a pipeline makes, discovered from its code: nothing is listed by model.

Three forms exist in diffusers: a check ``height % N != 0`` that raises or warns, a function of
height and width that rounds up in silence (Kandinsky 2 and 3; the function itself is probed), and a
list ``self.resolutions`` of which the nearest aspect ratio is taken in silence (Kandinsky 5). The
expressions are evaluated on the live pipeline where there is one, else on what ``__init__`` assigns
without components.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

from engines.schema import SizeRounding, SizeRule

LARGEST_EDGE: Final = 4096
"""Pixels. A limit of resources, for architectures that set none of their own."""

_OPERATORS: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Mult: lambda a, b: a * b,
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Pow: lambda a, b: a**b,
    ast.FloorDiv: lambda a, b: a // b,
}


class _Unknown(Exception):
    """An expression that cannot be evaluated without running the pipeline."""


def size_rule(kind: type[Any], live: Any | None = None) -> SizeRule:
    """The sizes that a pipeline class makes; more exact with the ``live`` pipeline at hand."""
    for inner in (kind, *_inner_pipelines(kind)):
        owner = _inner_live(live, inner) if live is not None else None
        for read in (_fixed, _checked, _rounded):
            rule = read(inner, owner)
            if rule is not None:
                return rule
    return SizeRule(maximum=LARGEST_EDGE)


def _fixed(kind: type[Any], live: Any | None) -> SizeRule | None:
    sizes = getattr(live, "resolutions", None) or _assigned(kind, "resolutions")
    if not isinstance(sizes, list) or not all(isinstance(size, tuple) for size in sizes):
        return None
    edges = [edge for size in sizes for edge in size]
    return SizeRule(rounding=SizeRounding.FIXED, fixed=tuple(sizes), minimum=min(edges), maximum=max(edges))


def _checked(kind: type[Any], live: Any | None) -> SizeRule | None:
    for branch in _branches(getattr(kind, "check_inputs", None)):
        divisor = _divisor(branch.test)
        if divisor is None:
            continue
        try:
            multiple = int(_evaluate(divisor, kind, live))
        except (_Unknown, TypeError, ValueError):
            continue
        raises = any(isinstance(node, ast.Raise) for node in ast.walk(branch))
        rounding = SizeRounding.REFUSES if raises else SizeRounding.DOWN
        return _stepped(multiple, rounding, live)
    return None


def _rounded(kind: type[Any], live: Any | None) -> SizeRule | None:
    call = next(_size_calls(kind.__call__), None)
    if call is None:
        return None
    function = getattr(sys.modules[kind.__module__], call.func.id, None)  # type: ignore[attr-defined]
    if not inspect.isfunction(function):
        return None
    try:
        scale = [int(_evaluate(argument, kind, live)) for argument in call.args[2:]]
    except (_Unknown, TypeError):
        scale = []
    grown = [function(edge, edge, *scale)[0] for edge in range(1, 1025)]
    multiple = next((i for i, latent in enumerate(grown) if latent != grown[0]), None)
    return None if multiple is None else _stepped(multiple, SizeRounding.UP, live)


def _stepped(multiple: int, rounding: SizeRounding, live: Any | None) -> SizeRule:
    largest = _architecture_limit(live) or LARGEST_EDGE
    return SizeRule(multiple=multiple, rounding=rounding, minimum=multiple, maximum=largest)


def _architecture_limit(live: Any | None) -> int | None:
    """The longest edge that learned position embeddings allow, where a transformer has them."""
    config = getattr(getattr(live, "transformer", None), "config", None)
    patches = getattr(config, "pos_embed_max_size", None)
    factor = getattr(live, "vae_scale_factor", None)
    if not isinstance(patches, int) or not isinstance(factor, int):
        return None
    return patches * int(getattr(config, "patch_size", 1)) * factor


def _inner_pipelines(kind: type[Any]) -> Iterator[type[Any]]:
    """The pipelines that a combined one builds in its constructor, decoders before priors."""
    names = [node.func.id for node in _nodes(kind.__init__, ast.Call) if isinstance(node.func, ast.Name)]
    module = vars(sys.modules[kind.__module__])
    found = [
        module[name] for name in names if inspect.isclass(module.get(name)) and name.endswith("Pipeline")
    ]
    yield from (inner for inner in found if "height" in inspect.signature(inner.__call__).parameters)


def _inner_live(live: Any, kind: type[Any]) -> Any:
    if isinstance(live, kind):
        return live
    return next((value for value in vars(live).values() if isinstance(value, kind)), None)


def _branches(function: Any) -> Iterator[ast.If]:
    yield from _nodes(function, ast.If)


def _size_calls(function: Any) -> Iterator[ast.Call]:
    """Calls ``f(height, width, …)`` of a plain function whose pair of results takes their place."""
    for node in _nodes(function, ast.Assign):
        call = node.value
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and [getattr(argument, "id", "") for argument in call.args[:2]] == ["height", "width"]
            and isinstance(node.targets[0], ast.Tuple)
        ):
            yield call


def _nodes(function: Any, kind: type[Any]) -> Iterator[Any]:
    if function is None:
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return
    yield from (node for node in ast.walk(tree) if isinstance(node, kind))


def _divisor(test: ast.expr) -> ast.expr | None:
    """N in a test that holds ``height % N``."""
    for node in ast.walk(test):
        if (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Mod)
            and isinstance(node.left, ast.Name)
            and node.left.id == "height"
        ):
            return node.right
    return None


def _evaluate(node: ast.expr, kind: type[Any], live: Any | None) -> Any:
    """Evaluate constants, arithmetic, and attributes of ``self``; nothing is called.

    Raises:
        _Unknown: the expression holds anything else.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(left, kind, live), _evaluate(right, kind, live))
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            value = getattr(live, name, None) if live is not None else _assigned(kind, name)
        case ast.Attribute(value=inner, attr=name):
            value = getattr(_evaluate(inner, kind, live), name, None)
        case _:
            value = None
    if value is None:
        raise _Unknown
    return value


def _assigned(kind: type[Any], name: str) -> Any:
    """What ``__init__`` assigns to ``self.name`` as a literal, or in the ``else`` of a condition."""
    for node in _nodes(kind.__init__, ast.Assign):
        target = node.targets[0]
        if not (isinstance(target, ast.Attribute) and target.attr == name):
            continue
        value = node.value.orelse if isinstance(node.value, ast.IfExp) else node.value
        try:
            return ast.literal_eval(value)
        except ValueError:
            continue
    return None
