"""What a model accepts, read from its pipeline: signature, type hints, docstring.

`discover` needs the class alone, so a sleeping model has a schema. `complete` adds what only the
live pipeline knows. One odd parameter never fails a model: it is hidden with its reason.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Mapping
from typing import Any, Final

from engines.annotations import Reading, annotation_text, read_annotation
from engines.calls import LARGEST_SEED
from engines.card import ModelCard
from engines.docstrings import first_sentence, parameter_descriptions
from engines.errors import NotLoadable
from engines.live_limits import MOST_STEPS, largest, unusable
from engines.schema import (
    UNSET,
    Capability,
    Constraints,
    DefaultSource,
    Method,
    MethodSchema,
    ParameterSpec,
    PipelineSchema,
    SizeRounding,
    SizeRule,
    ValueKind,
    ValueType,
)
from engines.sizing import size_rule
from engines.tasks import main_class, task_classes

LONGEST_TEXT: Final = 32_000

_SERVER_SIDE: Final[Mapping[str, str]] = {
    "generator": "it is made from seed",
    "output_type": "the gateway encodes the picture",
    "return_dict": "the gateway reads the pipeline's answer",
}
_IMAGE_INPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "__call__": (),
    "image_to_image": ("image",),
    "inpaint": ("image", "mask_image"),
    "variation": ("image",),
}
_SEED: Final = ParameterSpec(
    name="seed",
    required=False,
    annotation="int | None",
    type=ValueType(kind=ValueKind.INTEGER),
    nullable=True,
    description="Makes the picture repeatable: image i is drawn from seed + i. Random where it is not given.",
    constraints=Constraints(minimum=0, maximum=LARGEST_SEED),
)


_BLENDED: Final = tuple(
    ParameterSpec(
        name=name,
        required=True,
        annotation="PIL.Image.Image",
        type=ValueType(kind=ValueKind.IMAGE),
        description=description,
    )
    for name, description in (
        ("image", "The picture to repaint a part of."),
        ("mask_image", "A grey picture of the same size: white is repainted, black stays as it is."),
    )
)
"""What inpainting takes where the pipeline itself has none; see `engines.blending`."""


def discover(card: ModelCard, *, max_images: int = 10) -> PipelineSchema:
    """Describe a model from its pipeline class, without weights; imports diffusers.

    Raises:
        NotLoadable: there is no such class, or it makes no images from text.
    """
    kind = main_class(card)
    if not inspect.isclass(kind) or not callable(kind):
        raise NotLoadable(card.name, f"diffusers has no pipeline class {card.pipeline_class!r}")
    rule = size_rule(kind)
    methods = tuple(_method(name, found, rule, max_images) for name, found in task_classes(card).items())
    schema = PipelineSchema(
        model_id=card.name,
        pipeline_class=kind.__name__,
        family=card.family.value,
        description=card.preset.description or first_sentence(kind.__doc__),
        capabilities=_capabilities(methods),
        methods=methods,
        size=rule,
        notes=_notes(methods[0], rule),
        transparent=card.image_channels == len("RGBA"),
    )
    return _with_preset(_with_default_size(schema), card)


def complete(schema: PipelineSchema, pipelines: Mapping[Method, Any]) -> PipelineSchema:
    """Add what the live pipelines know: computed sizes, exact multiples, the scheduler's limit.

    The pipelines are left as they were; what cannot be learned stays as it is.
    """
    main = pipelines["__call__"]
    rule = _merged(schema.size, size_rule(type(main), main))
    computed = _computed_size(main)
    methods = tuple(
        _live_method(method, rule, computed, pipelines[method.name])
        for method in schema.methods
        if method.name in pipelines
    )
    live = schema.model_copy(
        update={
            "methods": methods,
            "size": rule,
            "live": True,
            "capabilities": _capabilities(methods),
            "moderated": getattr(main, "safety_checker", None) is not None,
        }
    )
    return _with_default_size(live)


def _method(name: Method, kind: type[Any], rule: SizeRule, max_images: int) -> MethodSchema:
    function = inspect.unwrap(kind.__call__)
    hints = _type_hints(function)
    descriptions = parameter_descriptions(inspect.getdoc(function))
    parameters = [
        _parameter(found, hints.get(found.name, found.annotation), descriptions.get(found.name, ""))
        for found in inspect.signature(function).parameters.values()
        if found.name != "self"
    ]
    if name == "inpaint" and "mask_image" not in {spec.name for spec in parameters}:
        parameters += _BLENDED
    names = {spec.name for spec in parameters}
    required = {*_without_substitute(parameters), *(_IMAGE_INPUTS[name])} & names
    bounded = [_bounded(spec, rule, max_images) for spec in parameters]
    specs = [
        spec.model_copy(update={"required": True}) if spec.name in required else spec for spec in bounded
    ]
    if "generator" in names and "seed" not in names:
        specs.append(_SEED)
    return MethodSchema(name=name, pipeline_class=kind.__name__, parameters=tuple(specs))


def _type_hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (TypeError, NameError):  # an annotation that does not evaluate: its text is shown instead
        return {}


def _parameter(found: inspect.Parameter, annotation: Any, description: str) -> ParameterSpec:
    variadic = found.kind in (found.VAR_KEYWORD, found.VAR_POSITIONAL)
    default = UNSET if found.default is found.empty else _json_default(found.default)
    reading = _reading(found, annotation)
    hidden = _hidden_reason(found.name, variadic, reading)
    return ParameterSpec(
        name=found.name,
        required=found.default is found.empty and not variadic and hidden is None,
        default=default,
        annotation=annotation_text(annotation) if annotation is not found.empty else "",
        type=reading.type,
        nullable=reading.nullable or default is None,
        repeated=reading.repeated,
        description=description,
        visible=hidden is None,
        hidden_reason=hidden,
    )


def _reading(found: inspect.Parameter, annotation: Any) -> Reading:
    """Read the annotation, or the default's type where there is none."""
    if annotation is found.empty and found.default not in (found.empty, None):
        return read_annotation(type(found.default))
    return read_annotation(Any if annotation is found.empty or isinstance(annotation, str) else annotation)


def _json_default(value: Any) -> Any:
    """A default as JSON shows it: tuples as arrays, keys as strings, objects by their text."""
    return json.loads(json.dumps(value, default=str))


def _hidden_reason(name: str, variadic: bool, reading: Reading) -> str | None:
    if variadic:
        return "names that the pipeline does not declare are refused"
    if name in _SERVER_SIDE:
        return _SERVER_SIDE[name]
    if "callback" in name:
        return "it is called inside the server"
    if name.endswith(("latents", "_embeds")):
        return "tensors cannot be sent as JSON"
    if "ip_adapter" in name:
        return "it needs an IP-Adapter, which is not loaded"
    return reading.hidden


def _without_substitute(parameters: list[ParameterSpec]) -> set[str]:
    """Parameters that default to ``None`` only because a hidden one may stand in for them.

    ``prompt`` may be ``None`` where ``prompt_embeds`` is given; no request can give that.
    """
    hidden = [spec.name for spec in parameters if not spec.visible]
    first = next((spec for spec in parameters if spec.visible), None)
    if first is None or first.default is not None:
        return set()
    replaceable = any(name.startswith(f"{first.name}_embeds") for name in hidden)
    return {first.name} if replaceable else set()


def _bounded(spec: ParameterSpec, rule: SizeRule, max_images: int) -> ParameterSpec:
    """Give a parameter the bounds that its nature sets, whatever the pipeline."""
    bounds = _bounds(spec, rule, max_images)
    return spec if bounds is None else spec.model_copy(update={"constraints": bounds})


def _bounds(spec: ParameterSpec, rule: SizeRule, max_images: int) -> Constraints | None:
    name = spec.name
    if name.endswith("num_inference_steps"):
        # A prior's scheduler divides by the number of steps less one.
        return Constraints(minimum=2 if name.startswith("prior_") else 1, maximum=MOST_STEPS)
    if name == "num_images_per_prompt":
        return Constraints(minimum=1, maximum=max_images)
    if "guidance_scale" in name or name.endswith("cfg_scale"):
        return Constraints(minimum=0)
    if name in ("strength", "image_weight"):
        return Constraints(minimum=0, maximum=1)
    if name in ("width", "height"):
        return Constraints(minimum=rule.minimum, maximum=rule.maximum)
    if name == "clip_skip":
        return Constraints(minimum=0)
    if name.endswith("sequence_length"):
        return Constraints(minimum=1)
    return Constraints(max_length=LONGEST_TEXT) if "prompt" in name else None


def _capabilities(methods: tuple[MethodSchema, ...]) -> tuple[Capability, ...]:
    needed = {spec.name for spec in methods[0].visible if spec.required}
    own = (
        Capability.INPAINTING
        if "mask_image" in needed
        else Capability.IMAGE_TO_IMAGE
        if "image" in needed
        else Capability.TEXT_TO_IMAGE
    )
    by_method: Mapping[str, Capability] = {
        "__call__": own,
        "image_to_image": Capability.IMAGE_TO_IMAGE,
        "inpaint": Capability.INPAINTING,
        "variation": Capability.VARIATION,
    }
    found = [by_method[method.name] for method in methods]
    image = methods[0].find("image")
    if image is not None and image.visible and "mask_image" not in needed:
        found.insert(1, Capability.IMAGE_TO_IMAGE)
    return tuple(dict.fromkeys(found))


def _notes(call: MethodSchema, rule: SizeRule) -> tuple[str, ...]:
    notes = []
    if rule.rounding in (SizeRounding.UP, SizeRounding.DOWN):
        notes.append(
            f"The pipeline would round sizes {rule.rounding.value} to multiples of {rule.multiple} without a "
            "word; here they are refused, with the nearest ones that are right."
        )
    if rule.rounding is SizeRounding.FIXED:
        notes.append("The pipeline makes only its listed sizes.")
    scale = call.find("true_cfg_scale")
    if scale is not None and scale.visible and call.find("negative_prompt") is not None:
        notes.append("negative_prompt has an effect only with true_cfg_scale above 1.")
    return tuple(notes)


def _with_default_size(schema: PipelineSchema) -> PipelineSchema:
    width, height = schema.default("width"), schema.default("height")
    if schema.size is None or not (isinstance(width, int) and isinstance(height, int)):
        return schema
    size = schema.size.model_copy(update={"default_width": width, "default_height": height})
    return schema.model_copy(update={"size": size})


def _with_preset(schema: PipelineSchema, card: ModelCard) -> PipelineSchema:
    """Let the model's own presets stand before the class's defaults."""
    preset = card.preset
    known = {spec.name for spec in schema.call.visible}
    methods = tuple(
        method.model_copy(
            update={"parameters": tuple(_preset_default(spec, preset.defaults) for spec in method.parameters)}
        )
        for method in schema.methods
    )
    strange = sorted(set(preset.defaults) - known)
    notes = (
        *schema.notes,
        *(f"The preset of {name!r} names no parameter of this model." for name in strange),
    )
    size = schema.size
    if size is not None:
        size = size.model_copy(update={"native": preset.sizes, "fit": preset.size_fit})
    return _with_default_size(schema.model_copy(update={"methods": methods, "notes": notes, "size": size}))


def _preset_default(spec: ParameterSpec, defaults: Mapping[str, Any]) -> ParameterSpec:
    if not spec.visible or spec.name not in defaults:
        return spec
    return spec.model_copy(
        update={
            "default": defaults[spec.name],
            "default_source": DefaultSource.CARD,
            "required": False,
        }
    )


def _merged(stated: SizeRule | None, found: SizeRule) -> SizeRule:
    """The live rule, with what the card stated and the defaults known before."""
    if stated is None:
        return found
    kept = {name: getattr(stated, name) for name in ("native", "fit", "default_width", "default_height")}
    return found.model_copy(update=kept)


def _live_method(
    method: MethodSchema, rule: SizeRule, computed: Mapping[str, int], pipeline: Any
) -> MethodSchema:
    most, useless = largest(pipeline), unusable(pipeline)

    def live(spec: ParameterSpec) -> ParameterSpec:
        changes: dict[str, Any] = {}
        if spec.name in ("width", "height"):
            changes["constraints"] = Constraints(minimum=rule.minimum, maximum=rule.maximum)
            if spec.default is None and spec.name in computed and method.name == "__call__":
                changes |= {"default": computed[spec.name], "default_source": DefaultSource.PIPELINE}
        elif spec.name in most:
            bounds = spec.constraints.model_copy(update={"maximum": most[spec.name]})
            changes["constraints"] = bounds
        if spec.name in useless:
            changes |= {"visible": False, "hidden_reason": useless[spec.name]}
        return spec.model_copy(update=changes) if changes else spec

    return method.model_copy(update={"parameters": tuple(live(spec) for spec in method.parameters)})


class _Probed(Exception):
    """Ends a probing call before any work is done; carries what the pipeline was about to check."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments


def _computed_size(pipeline: Any) -> dict[str, int]:
    """The height and width that the pipeline fills in for ``None``.

    The pipeline is called with its ``check_inputs`` replaced by a function that looks at its
    arguments and raises; nothing is denoised.
    """
    check = getattr(pipeline, "check_inputs", None)
    if check is None or "height" not in inspect.signature(check).parameters:
        return {}
    signature = inspect.signature(check)

    def look(*args: Any, **kwargs: Any) -> None:
        raise _Probed(signature.bind(*args, **kwargs).arguments)

    pipeline.check_inputs = look
    try:
        pipeline(prompt="a")
    except _Probed as probed:
        found = {name: probed.arguments.get(name) for name in ("height", "width")}
        return {name: value for name, value in found.items() if isinstance(value, int)}
    except Exception:  # noqa: BLE001 - a pipeline that cannot be probed keeps its unknown default
        return {}
    finally:
        del pipeline.check_inputs
    return {}
