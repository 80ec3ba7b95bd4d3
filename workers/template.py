"""Chat templates: the model's own Jinja2 source, rendered in a sandbox with what real templates use.

What templates may call follows Hugging Face's `apply_chat_template` (transformers/utils/chat_template_utils.py).
A template comes with a model file, from anywhere: it must neither run code nor eat the machine. The sandbox keeps it
from code. Ranges, the growth of texts and lists, and the length of the prompt are limited here, where the refusal can
say what was wrong; what gets around that meets the limits of the process that it is rendered in (`workers.templates`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_SIZE = 64 * 1024 * 1024  # characters of a prompt, or of any text a template makes on the way
MAX_STEPS = 1_000_000  # numbers that all ranges of one rendering give
MAX_NUMBER = 10_000_000  # as an argument, where it may be a width or a count

_steps: ContextVar[int] = ContextVar("steps")


class TemplateError(ValueError):
    """A template that cannot be compiled, or that refuses the conversation; the message is the template's own."""


class ChatTemplate:
    """One compiled chat template."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        """Raises TemplateError where the source is no valid template."""
        try:
            self._template = _environment().from_string(source)
        except (JinjaError, RecursionError) as error:
            raise TemplateError(f"not a valid chat template: {error}") from error
        self.source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}

    def render(self, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        """The prompt up to where the assistant begins to speak. Raises TemplateError."""
        given = {"messages": messages, "add_generation_prompt": True, **self._tokens, **variables}
        parts: list[str] = []
        size = 0
        started = _steps.set(0)
        try:
            for part in self._template.generate(given):
                size += len(part)
                if size > MAX_SIZE:
                    raise TemplateError(f"the prompt is longer than {MAX_SIZE} characters")
                parts.append(part)
        except TemplateError:
            raise
        except _REFUSALS as error:
            raise TemplateError(str(error) or type(error).__name__) from error
        finally:
            _steps.reset(started)
        return "".join(parts)


_REFUSALS = (
    JinjaError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError,
)  # fmt: skip


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Kimi K2's template keeps a list of ids; all lists it can reach are made for one rendering."""
        return (isinstance(obj, list) and attr in ("append", "pop")) or super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _refuse_growth(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  jinja's names
        for value in (*args, *kwargs.values()):
            if isinstance(value, int) and abs(value) > MAX_NUMBER:
                raise SecurityError(f"{value} is too large a number to call anything with")
        return super().call(__context, __obj, *args, **kwargs)


class _Generation(Extension):
    """`{% generation %}` marks what the assistant said, for training; here it only passes its content on."""

    tags = {"generation"}  # noqa: RUF012  jinja's attribute

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> _Environment:
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
    environment.filters["tojson"] = _tojson
    environment.filters["from_json"] = json.loads
    for name in ("center", "indent", "wordwrap"):
        environment.filters[name] = _bounded(environment.filters[name])
    environment.filters.pop("format")  # its widths cannot be bounded
    environment.globals.update(
        raise_exception=_raise_exception, strftime_now=_strftime_now, range=_range, dict=lambda *a, **k: dict(*a, **k)
    )
    return environment


def _refuse_growth(operator: str, left: Any, right: Any) -> None:
    """Raises SecurityError before an operator makes something enormous."""
    if operator == "+":
        size = len(left) + len(right) if isinstance(left, str | list) and isinstance(right, str | list) else 0
    elif operator == "*":
        sized, count = (left, right) if isinstance(left, str | list | tuple) else (right, left)
        size = len(sized) * count if isinstance(sized, str | list | tuple) and isinstance(count, int) else 0
    elif operator == "%":
        size = MAX_SIZE + 1 if isinstance(left, str) else 0
    else:
        size = MAX_SIZE + 1 if isinstance(right, int | float) and abs(right) > 64 else 0
    if size > MAX_SIZE:
        raise SecurityError(f"the operator {operator} makes something too large")


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(*args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            if isinstance(value, int) and value > 10_000:
                raise SecurityError(f"{value} is too wide")
        return function(*args, **kwargs)

    for name, value in vars(function).items():
        setattr(bounded, name, value)
    return bounded


def _range(*args: int) -> range:
    numbers = range(*args)
    steps = _steps.get(0) + len(numbers)
    if steps > MAX_STEPS:
        raise SecurityError(f"more than {MAX_STEPS} steps in ranges")
    _steps.set(steps)
    return numbers


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
