"""Every failure has a row, survives its way between processes, and is OpenAI's error object."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from compat import remote_errors
from compat.errors import (
    TABLE,
    AnswerLost,
    BatchEnded,
    BatchNotFound,
    BodyTooLarge,
    CallerBusy,
    FileNotStored,
    IdempotencyKeyReused,
    InvalidKey,
    InvalidSize,
    InvalidUrl,
    JobEnded,
    JobNotFound,
    MalformedBody,
    MethodNotAllowed,
    MissingKey,
    ModelNotFound,
    NamedModelLimit,
    PictureGone,
    RangeNotSatisfiable,
    RequestNotFound,
    TooManyJobs,
    Unsupported,
    UnsupportedMediaType,
    UploadStalled,
    WrongEncoding,
    render,
    row_of,
)
from compat.fields import UnsupportedValue, WrongType
from engines import errors
from engines.exhaustion import Extent, Shortage

EXAMPLES = (
    errors.UnknownModel("foo", ("bar",)),
    ModelNotFound("foo", ("bar",)),
    errors.UnknownParameter("stepz", ("steps",), ("steps", "prompt"), "A hint."),
    errors.MissingParameter("prompt"),
    errors.InvalidParameter("n", "too many", "integer_above_max_value"),
    WrongType("n", "an integer", "a string"),
    UnsupportedValue("quality", "ultra", ("low", "high")),
    errors.InvalidImage("image", "not a picture"),
    errors.UnsupportedImageType("image", "text/html"),
    errors.InvalidMask("mask", "mask image missing alpha channel"),
    errors.StorageFailed("written", "No space left on device"),
    UploadStalled(30.0),
    MissingKey(),
    InvalidKey("***"),
    FileNotStored("file-1"),
    errors.ModerationBlocked("fox"),
    PictureGone(),
    BatchNotFound("batch_1"),
    BatchEnded("batch_1", "completed"),
    JobNotFound("job_1"),
    JobEnded("job_1", "completed"),
    IdempotencyKeyReused(),
    RangeNotSatisfiable(10),
    InvalidSize("9x9", "Too small."),
    Unsupported("stream", "Not here.", "unsupported_parameter"),
    NamedModelLimit("You must provide n=1 for this model."),
    WrongEncoding("image[]", "Use 'images'."),
    MalformedBody("expected a JSON object"),
    UnsupportedMediaType("text/plain", ("application/json",)),
    BodyTooLarge(11, 10),
    InvalidUrl("GET", "/x"),
    MethodNotAllowed("GET", "/x", ("POST",)),
    remote_errors.NativeRoutesAbsent("model"),
    remote_errors.RemoteRefusal("model", remote_errors.Said(status=400, message="No.", type="their_type")),
    remote_errors.RemoteFailure(
        "model", remote_errors.Said(status=500, message="Broken.", type="invalid_request_error")
    ),
    remote_errors.RemoteBadAnswer("model", "it is no JSON"),
    remote_errors.RemoteLacks("model", "variations"),
    remote_errors.RemoteKeyMissing("model", "the variable X is empty"),
    remote_errors.RemoteKeyRefused("model", "401"),
    remote_errors.RemoteTimedOut("model", "no answer within 5 s"),
    remote_errors.RemoteUnreachable("model"),
    errors.NotLoadable("model", "a decoder without prior"),
    errors.LoadFailed("model", "a file is damaged", 90.0),
    errors.GenerationFailed("model", "the pipeline raised"),
    errors.BrokenPicture("model", "latents after step 4", "float16"),
    errors.DeviceFailed("model", "CUDA error: an illegal memory access was encountered"),
    errors.OutOfMemory("model", "asked for 3 GB", Shortage(Extent(64, 64), 2**31, 2**30, Extent(32, 32))),
    errors.ModelLoading("model", 0.5, 7.2),
    errors.EngineBusy("model", 16, 0.1),
    errors.EngineLeaving("model"),
    errors.EngineLost("model"),
    errors.HostMemoryExhausted("model"),
    errors.GenerationStopped("model", 3),
    errors.DeadlineExceeded(2.5, "drawing", 7, 20),
    RequestNotFound("req_1"),
    CallerBusy(2, 4.2),
    TooManyJobs(1000),
    AnswerLost(),
)
FAMILIES = {errors.InvalidRequest, errors.EngineFault, errors.Unavailable}


def descendants(kind: type[errors.EngineError]) -> Iterator[type[errors.EngineError]]:
    for child in kind.__subclasses__():
        if child.__module__ in ("engines.errors", "compat.errors", "compat.fields", "compat.remote_errors"):
            yield child
            yield from descendants(child)


def name_of(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__


def test_every_error_class_has_an_example_here() -> None:
    assert set(descendants(errors.EngineError)) - FAMILIES == {type(example) for example in EXAMPLES}


@pytest.mark.parametrize("kind", list(descendants(errors.EngineError)), ids=name_of)
def test_every_error_class_has_a_row_of_its_own_or_of_a_kind(kind: type[errors.EngineError]) -> None:
    ancestors = set(kind.__mro__) - FAMILIES - {BaseException}
    assert kind in FAMILIES or any(base in TABLE for base in ancestors)


@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
def test_an_error_survives_the_way_between_processes_with_all_its_fields(error: errors.EngineError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
def test_an_answer_is_openais_error_object_with_all_four_keys(error: errors.EngineError) -> None:
    answer = render(error)
    assert list(answer.body) == ["error"]
    assert set(answer.body["error"]) == {"message", "type", "param", "code"}
    assert answer.body["error"]["message"] == str(error)
    assert answer.body["error"]["type"]


@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
def test_the_status_says_whose_fault_it_is(error: errors.EngineError) -> None:
    of_the_caller = errors.InvalidRequest, errors.GenerationStopped, CallerBusy, TooManyJobs
    assert (render(error).status < 500) == isinstance(error, of_the_caller)


@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
def test_no_server_fault_reads_as_the_callers(error: errors.EngineError) -> None:
    answer = render(error)
    assert answer.status < 500 or "invalid_request_error" not in str(answer.body)


@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
def test_what_can_succeed_later_says_when_in_whole_seconds_of_at_most_a_minute(
    error: errors.EngineError,
) -> None:
    wait = render(error).headers.get("Retry-After")
    assert (wait is not None) == isinstance(error, errors.Unavailable | errors.LoadFailed)
    assert wait is None or 1 <= int(wait) <= 60


@pytest.mark.parametrize(
    ("wait", "header"), [(0.0, "1"), (1.0, "1"), (7.2, "8"), (60.0, "60"), (500.0, "60")]
)
def test_a_wait_is_rounded_up_and_kept_within_what_clients_honour(wait: float, header: str) -> None:
    assert render(errors.ModelLoading("model", None, wait)).headers["Retry-After"] == header


@pytest.mark.parametrize(
    ("error", "status", "kind", "param", "code"),
    [
        (EXAMPLES[0], 400, "image_generation_user_error", "model", "invalid_value"),
        (EXAMPLES[1], 404, "invalid_request_error", "model", "model_not_found"),
        (EXAMPLES[2], 400, "invalid_request_error", "stepz", "unknown_parameter"),
        (EXAMPLES[3], 400, "invalid_request_error", "prompt", "missing_required_parameter"),
        (EXAMPLES[4], 400, "invalid_request_error", "n", "integer_above_max_value"),
        (InvalidSize("9x9", "Too small."), 400, "image_generation_user_error", "size", "invalid_value"),
        (errors.GenerationFailed("m", "r"), 500, "server_error", None, "image_generation_failed"),
        (errors.ModelLoading("m", None, 1), 503, "service_unavailable_error", None, "model_loading"),
        (errors.EngineBusy("m", 1, 1), 503, "service_unavailable_error", None, "server_is_overloaded"),
        (errors.OutOfMemory("m", "r"), 507, "server_error", None, "out_of_memory"),
        (errors.LoadFailed("m", "r"), 503, "service_unavailable_error", None, "model_load_failed"),
    ],
    ids=name_of,
)
def test_the_object_is_the_one_that_clients_of_openai_know(
    error: errors.EngineError, status: int, kind: str, param: str | None, code: str
) -> None:
    answer = render(error)
    assert answer.status == status
    found = answer.body["error"]
    assert (found["type"], found["param"], found["code"]) == (kind, param, code)


@pytest.mark.parametrize("error", [ValueError("/secret/path"), KeyError("token"), SystemExit("x")])
def test_a_foreign_error_tells_the_client_nothing_of_itself(error: BaseException) -> None:
    answer = render(error, request_id="req_7")
    assert answer.status == 500
    assert answer.body["error"]["type"] == "server_error"
    assert str(error.args[0]) not in str(answer.body)
    assert "req_7" in str(answer.body["error"]["message"])


def test_a_wrong_method_answers_with_the_right_ones() -> None:
    assert render(MethodNotAllowed("GET", "/x", ("POST", "PUT"))).headers == {"Allow": "POST, PUT"}


@pytest.mark.parametrize(
    "error",
    [
        errors.OutOfMemory("m", "r"),
        errors.NotLoadable("m", "r"),
        errors.GenerationStopped("m", 1),
        errors.DeadlineExceeded(1, "drawing"),
    ],
)
def test_clients_are_told_not_to_repeat_what_repeating_cannot_cure(error: errors.EngineError) -> None:
    assert render(error).headers["x-should-retry"] == "false"
    assert "x-should-retry" not in render(errors.EngineBusy("m", 1, 1)).headers


def test_a_subclass_made_elsewhere_is_rendered_as_its_kind() -> None:
    class Odd(errors.OutOfMemory):
        pass

    assert row_of(Odd) == row_of(errors.OutOfMemory)
