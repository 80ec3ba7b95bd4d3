"""From the body of a request to its fields, or a 400 that names the place. Nothing is guessed."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import msgspec

from api.apart import LARGE_BYTES
from api.errors import ApiError, shown
from api.limits import join
from shared.schema.request import CreateResponse

T = TypeVar("T")

_request = msgspec.json.Decoder(CreateResponse)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_request(body: bytes) -> CreateResponse:
    """The body of a creation, every field of the right type and in its range. Raises ApiError."""
    return decode_body(_request, body)


def decode_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A body as `decoder` reads it. Raises ApiError that names the place."""
    try:
        with _uncollected(body):
            return decoder.decode(body)
    except msgspec.ValidationError as error:
        refuse(error, "", body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"The body is not valid JSON: {error}.", code="invalid_json") from None
    except RecursionError:
        raise ApiError(400, "The body is nested too deeply.", code="invalid_json") from None


@contextmanager
def _uncollected(body: bytes | msgspec.Raw) -> Iterator[None]:
    """Inside, Python looks for no garbage where `body` is large: with every few hundred lists that come out of one call
    it would look at all before them, which takes five times as long as the call."""
    paused = len(body) >= LARGE_BYTES and gc.isenabled()
    if paused:
        gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


@contextmanager
def reading(raw: msgspec.Raw, where: str) -> Iterator[None]:
    """Inside, msgspec reads `raw`, which a body has at `where`; what it says of it becomes an ApiError."""
    try:
        yield
    except msgspec.ValidationError as error:
        refuse(error, where, raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # what was kept raw is read here for the first time
        raise ApiError(400, f"{where} is not valid JSON: {error}.", param=where, code="invalid_json") from None
    except RecursionError:
        raise ApiError(400, f"{where} is nested too deeply.", param=where, code="invalid_value") from None


def check_supported(request: CreateResponse) -> None:
    """Refuses what this server cannot honour. Raises ApiError with the field's name."""
    for name, wanted in _UNSUPPORTED.items():
        value = getattr(request, name)
        if value not in wanted:
            raise ApiError(400, f"`{name}` is not supported with this value.", param=name, code="unsupported_parameter")
    for position, name in enumerate(request.include or ()):
        if name not in INCLUDABLE:
            message = f"include[{position}] is '{shown(name)}', expected one of {', '.join(sorted(INCLUDABLE))}."
            raise ApiError(400, message, param=f"include[{position}]", code="invalid_value")
    if request.background and request.store is False:
        message = "`background` needs `store`: nobody could fetch the response."
        raise ApiError(400, message, param="store", code="invalid_value")


INCLUDABLE = frozenset(
    {
        LOGPROBS := "message.output_text.logprobs",
        ENCRYPTED_REASONING := "reasoning.encrypted_content",
        # what only tools hosted by OpenAI could give: accepted, there is never any
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
    }
)

_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "prompt": (None,),
    "moderation": (None,),
    "access_programs": (None,),
    "background_options": (None,),
    "image": (None,),
}
"""Fields with the values that mean nothing special."""


_WHERE = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_SOME_KEY = "[...]"  # how msgspec names a value of an object with free keys


def refuse(error: msgspec.ValidationError, prefix: str = "", body: bytes | msgspec.Raw = b"{}") -> NoReturn:
    """Turns msgspec's message about `body`, which is at `prefix`, into OpenAI's envelope: the path becomes `param`."""
    text = str(error)
    unknown = _UNKNOWN.fullmatch(text)
    found = None if unknown and unknown["name"] in _members(body) else _WHERE.search(text)
    path = found["path"] if found else ""
    reason = text[: found.start()] if found else text
    code = "invalid_value" if "Expected `" not in text or "`, got" not in text else "invalid_type"
    if unknown := _UNKNOWN.fullmatch(reason):
        path, code = _member(path, unknown["name"]), "unknown_parameter"
    elif missing := _MISSING.fullmatch(reason):
        path, code = _member(path, missing["name"]), "missing_required_parameter"
    elif path.endswith(_SOME_KEY):
        path = _first_that_is_no_string(path.removesuffix(_SOME_KEY), body)
    param = prefix + path if path.startswith("[") or not prefix or not path else f"{prefix}.{path}"
    where = f"{param}: " if param else ""
    raise ApiError(400, f"{where}{shown(reason)}.", param=param or None, code=code) from None


def _member(path: str, name: str) -> str:
    """The path of a value in the object at `path`; that of the object where the name is too long to repeat."""
    return join(path, name).removeprefix(".") if shown(name) == name else path


def _first_that_is_no_string(path: str, body: bytes | msgspec.Raw) -> str:
    """The path of the value that made msgspec refuse the object of strings at `path`, a field of `body`."""
    values = _members(_members(body).get(path, b"{}"))
    wrong = next((key for key, value in values.items() if not bytes(value).startswith(b'"')), None)
    return path if wrong is None else _member(path, wrong)


def _members(value: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of an object; none where it cannot be read to its end: msgspec stopped before."""
    try:
        with _uncollected(value):
            return _object.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
