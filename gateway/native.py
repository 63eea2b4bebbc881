"""The native routes' answers, as bytes or plain objects. Their field names are a contract with callers."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pybase64

from compat.events import frame
from engines.calls import EncodedImage, EngineEvent, EngineResult, Preview, StepProgress
from engines.native_schema import method_request
from engines.schema import UNSET, MethodSchema, PipelineSchema, names, parameter_schema
from gateway.native_answers import Health, Loading, MethodParameters, ModelRow, ModelSchema
from gateway.registry import Entry, ModelEntry, native_path
from gateway.status import Status

HEADLINE_DEFAULTS: Final = ("num_inference_steps", "guidance_scale", "width", "height")
"""The defaults that ``/schema`` repeats at its top."""


def generation(model: str, result: EngineResult) -> bytes:
    """The body of a finished ``/generate``; every picture is a ``data:`` URI."""
    images = [_data_uri(image) for image in result.images]
    return orjson.dumps(
        {
            "status": "success",
            "model": model,
            "image": images[0],
            "images": images,
            "parameters": result.parameters,
            "notes": list(result.notes),
            "compute_metrics": result.metrics.model_dump(),
        }
    )


def event(entry: ModelEntry, happened: EngineEvent | Status) -> bytes:
    """A server-sent event of a streamed ``/generate``: waking, progress, preview, completed."""
    match happened:
        case Status():
            return frame("waking", health(entry.name, happened))
        case StepProgress(step=step, total=total):
            percent = round(100 * step / total, 1) if total else None
            return frame("progress", {"step": step, "total": total, "percent": percent})
        case Preview(index=index, image=image):
            return frame("preview", {"index": index, "image": _data_uri(image)})
    return b"event: completed\ndata: %s\n\n" % generation(entry.name, happened)


def loading(model: str, status: Status, poll_url: str) -> Loading:
    """The body of a 202: where the load stands and where to ask again."""
    return {
        "status": "loading",
        "model": model,
        "state": status.state.value,
        "phase": status.phase,
        "progress": _rounded(status.progress, 4),
        "elapsed_seconds": _rounded(status.elapsed_seconds, 2),
        "estimated_seconds": _rounded(status.estimated_seconds, 2),
        "eta_seconds": _rounded(status.eta_seconds, 2),
        "retry_after_seconds": retry_after(status),
        "poll_url": poll_url,
    }


def retry_after(status: Status) -> int:
    """Whole seconds, 1 to 60: no other value is safe in every client."""
    return min(60, max(1, round(status.retry_after_seconds or 1)))


def health(model: str, status: Status) -> Health:
    """The body of a model's ``/health``."""
    return {
        "status": "unhealthy" if status.reason else "healthy",
        "model": model,
        "state": status.state.value,
        "phase": status.phase,
        "component": status.component,
        "progress": _rounded(status.progress, 4),
        "bytes_loaded": status.bytes_loaded,
        "bytes_total": status.bytes_total,
        "elapsed_seconds": _rounded(status.elapsed_seconds, 2),
        "estimated_seconds": _rounded(status.estimated_seconds, 2),
        "eta_seconds": _rounded(status.eta_seconds, 2),
        "active_requests": status.active_requests,
        "waiting_requests": status.waiting_requests,
        "queue_position": status.position,
        "reason": status.reason,
    }


def model(entry: Entry, status: Status) -> ModelRow:
    """One row of ``/models``; what is not known of another server's model is null."""
    card = entry.card if isinstance(entry, ModelEntry) else None
    described = entry.schema_ if isinstance(entry, ModelEntry) else None
    return {
        "model_id": entry.name,
        "aliases": list(entry.aliases),
        "state": status.state.value,
        "family": card.family.value if card else None,
        "pipeline_class": described.pipeline_class if described else None,
        "capabilities": [capability.value for capability in described.capabilities] if described else None,
        "dtype": card.dtype if card else None,
        "size_bytes": card.size if card else None,
        "schema_url": f"{native_path(entry.name)}/schema",
        "generate_url": f"{native_path(entry.name)}/generate",
        "health_url": f"{native_path(entry.name)}/health",
    }


def schema(entry: ModelEntry) -> ModelSchema:
    """The body of ``/schema``; the same whether the model sleeps or not."""
    described: PipelineSchema = entry.schema_
    call = described.call
    return {
        "model_id": entry.name,
        "pipeline_class": described.pipeline_class,
        "family": described.family,
        "description": described.description,
        "capabilities": [capability.value for capability in described.capabilities],
        "inputs": {
            "required": names(call.parameters, required=True),
            "optional": names(call.parameters, required=False),
        },
        "methods": {method.name: _method(method) for method in described.methods},
        "defaults": {name: _plain(described.default(name)) for name in HEADLINE_DEFAULTS},
        "size": described.size.model_dump(mode="json") if described.size else None,
        "limits": {
            "max_images": entry.options.max_images,
            "max_image_pixels": entry.options.max_image_pixels,
        },
        "notes": list(described.notes),
        "live": described.live,
        "json_schema": method_request(described, call, title=f"{entry.name}: generate"),
    }


def _method(method: MethodSchema) -> MethodParameters:
    return {
        "pipeline_class": method.pipeline_class,
        "parameters": {
            spec.name: {
                "name": spec.name,
                "required": spec.required,
                "default": _plain(spec.default),
                "default_source": spec.default_source.value,
                "annotation": spec.annotation,
                "description": spec.description,
                "schema": parameter_schema(spec),
            }
            for spec in method.visible
        },
        "hidden": {
            spec.name: spec.hidden_reason
            for spec in method.parameters
            if not spec.visible and spec.hidden_reason
        },
    }


def _plain(value: Any) -> Any:
    return None if value is UNSET else value


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _data_uri(image: EncodedImage) -> str:
    return f"data:{image.format.media_type};base64,{pybase64.b64encode_as_string(image.data)}"
