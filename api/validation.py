"""From the body of a request to its fields, or a 400 that names the place. Nothing is guessed."""

from __future__ import annotations

import re
from typing import Any, NoReturn, TypeVar

import msgspec

from api.errors import ApiError
from shared.schema.request import CreateResponse

T = TypeVar("T")

_request = msgspec.json.Decoder(CreateResponse)


def decode_request(body: bytes) -> CreateResponse:
    """The body of a creation, every field of the right type and in its range. Raises ApiError."""
    return decode_body(_request, body)


def decode_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A body as `decoder` reads it. Raises ApiError that names the place."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        refuse(error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"The body is not valid JSON: {error}.", code="invalid_json") from None
    except RecursionError:
        raise ApiError(400, "The body is nested too deeply.", code="invalid_json") from None


def check_supported(request: CreateResponse) -> None:
    """Refuses what this server cannot honour. Raises ApiError with the field's name."""
    for name, wanted in _UNSUPPORTED.items():
        value = getattr(request, name)
        if value not in wanted:
            raise ApiError(400, f"`{name}` is not supported with this value.", param=name, code="unsupported_parameter")
    for position, name in enumerate(request.include or ()):
        if name not in INCLUDABLE:
            message = f"include[{position}] is '{name}', expected one of {', '.join(sorted(INCLUDABLE))}."
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
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")


def refuse(error: msgspec.ValidationError, prefix: str = "") -> NoReturn:
    """Turns msgspec's message into OpenAI's envelope: the path becomes `param`."""
    text = str(error)
    found = _WHERE.search(text)
    path = found["path"] if found else ""
    reason = text[: found.start()] if found else text
    code = "invalid_value" if "Expected `" not in text or "`, got" not in text else "invalid_type"
    if field := _UNKNOWN.search(reason):
        path, code = _join(path, field["name"]), "unknown_parameter"
    elif field := _MISSING.search(reason):
        path, code = _join(path, field["name"]), "missing_required_parameter"
    param = _join(prefix, path)
    where = f"{param}: " if param else ""
    raise ApiError(400, f"{where}{reason}.", param=param or None, code=code) from None


def _join(prefix: str, path: str) -> str:
    if not prefix or not path or path.startswith("["):
        return prefix + path
    return f"{prefix}.{path}"
