"""From the body of a request to items and options, or a 400 that names the place. Nothing is guessed."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import msgspec

from api.errors import ApiError, shown
from api.limits import check_limits, check_name, check_nesting, join
from shared.schema.content import InputText, MessagePart, OutputText
from shared.schema.ids import new_id
from shared.schema.items import EasyMessage, Item, Message, Reasoning, ReasoningInput
from shared.schema.request import CreateResponse
from shared.settings import Settings

_request = msgspec.json.Decoder(CreateResponse)
_message = msgspec.json.Decoder(EasyMessage)
_reasoning = msgspec.json.Decoder(ReasoningInput)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Typed(msgspec.Struct):
    type: str = "message"


_typed = msgspec.json.Decoder(_Typed)


def decode_request(body: bytes, settings: Settings) -> CreateResponse:
    """The request, every field of the right type and in its range. Raises ApiError."""
    try:
        request = _request.decode(body)
    except msgspec.ValidationError as error:
        _refuse(error, "", body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"The body is not valid JSON: {error}.", code="invalid_json") from None
    except RecursionError:
        raise ApiError(400, "The body is nested too deeply.", code="invalid_json") from None
    check_limits(request, settings)
    return request


def decode_input(request: CreateResponse, settings: Settings) -> list[Item]:
    """The input items, each with an id, content always a list. Raises ApiError."""
    if request.input is None:
        return []
    if isinstance(request.input, str):
        return [_user_message(request.input)]
    if len(request.input) > settings.max_input_items:
        message = f"The input has {len(request.input)} items, {settings.max_input_items} are allowed."
        raise ApiError(400, message, param="input", code="array_above_max_length")
    return [_item(raw, f"input[{position}]", settings) for position, raw in enumerate(request.input)]


def check_supported(request: CreateResponse) -> None:
    """Refuses what this server cannot honour. Raises ApiError with the field's name."""
    for name, wanted in _UNSUPPORTED.items():
        value = getattr(request, name)
        if value not in wanted:
            raise ApiError(400, f"`{name}` is not supported with this value.", param=name, code="unsupported_parameter")
    if request.background and request.store is False:
        message = "`background` needs `store`: nobody could fetch the response."
        raise ApiError(400, message, param="store", code="invalid_value")
    if request.text and request.text.format and request.text.format.type != "text":
        message = f"`text.format` of type '{request.text.format.type}' is not supported."
        raise ApiError(400, message, param="text.format", code="unsupported_parameter")
    if request.reasoning and (request.reasoning.summary or request.reasoning.generate_summary):
        message = "`reasoning.summary` is not supported: the raw reasoning is in the reasoning item's content."
        raise ApiError(400, message, param="reasoning.summary", code="unsupported_parameter")


_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "conversation": (None,),
    "include": (None, []),
    "tools": (None, []),
    "tool_choice": (None, "auto", "none"),
    "truncation": (None, "disabled"),
    "context_management": (None, []),
    "top_logprobs": (None, 0),
    "prompt": (None,),
    "moderation": (None,),
    "access_programs": (None,),
    "background_options": (None,),
    "image": (None,),
}
"""Fields with the values that mean nothing special."""


def _item(raw: msgspec.Raw, where: str, settings: Settings) -> Item:
    check_nesting(raw, where, settings)
    try:
        kind = _typed.decode(raw).type
        if kind == "message":
            easy = _message.decode(raw)
            check_name(easy.id, f"{where}.id", settings)
            return _normal_message(easy, where)
        if kind == "reasoning":
            item = _reasoning.decode(raw)
            check_name(item.id, f"{where}.id", settings)
            return _normal_reasoning(item)
    except msgspec.ValidationError as error:
        _refuse(error, where, raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # what was kept raw is read here for the first time
        raise ApiError(400, f"{where} is not valid JSON: {error}.", param=where, code="invalid_json") from None
    except RecursionError:
        raise ApiError(400, f"{where} is nested too deeply.", param=where, code="invalid_value") from None
    known = "'message', 'reasoning'"
    raise ApiError(
        400, f"{where}.type is '{shown(kind)}', expected one of {known}.", param=f"{where}.type", code="invalid_value"
    )


def _normal_message(easy: EasyMessage, where: str) -> Message:
    assistant = easy.role == "assistant"
    if isinstance(easy.content, str):
        part: MessagePart = OutputText(text=easy.content) if assistant else InputText(text=easy.content)
        parts = [part]
    else:
        parts = easy.content
    for position, part in enumerate(parts):
        if isinstance(part, InputText) == assistant:
            allowed = "'output_text' or 'refusal'" if assistant else "'input_text'"
            place = f"{where}.content[{position}].type"
            message = f"{place}: a message of the role '{easy.role}' holds parts of type {allowed}."
            raise ApiError(400, message, param=place, code="invalid_value")
    return Message(
        id=easy.id or new_id("msg"),
        status=easy.status or "completed",
        role=easy.role,
        content=parts,
        phase=easy.phase if easy.phase else msgspec.UNSET,
    )


def _normal_reasoning(item: ReasoningInput) -> Reasoning:
    return Reasoning(id=item.id or new_id("rs"), summary=item.summary, content=item.content)


def _user_message(text: str) -> Message:
    return Message(id=new_id("msg"), role="user", content=[InputText(text=text)])


_WHERE = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_SOME_KEY = "[...]"  # how msgspec names a value of an object with free keys


def _refuse(error: msgspec.ValidationError, prefix: str, body: bytes | msgspec.Raw) -> NoReturn:
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
        return _object.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
