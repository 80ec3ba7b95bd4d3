"""Chat templates: the model's own Jinja2 source, rendered in a sandbox with what real templates use.

What templates may call follows Hugging Face's `apply_chat_template` (transformers/utils/chat_template_utils.py).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class TemplateError(ValueError):
    """A template that cannot be compiled, or that refuses the conversation; the message is the template's own."""


class ChatTemplate:
    """One compiled chat template."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        """Raises TemplateError where the source is no valid template."""
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except JinjaError as error:
            raise TemplateError(f"not a valid chat template: {error}") from error
        self.source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}

    def render(self, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        """The prompt up to where the assistant begins to speak. Raises TemplateError."""
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **self._tokens, **variables)
        except (JinjaError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
            raise TemplateError(str(error)) from error


def _tojson(value: Any, indent: int | None = None, **_options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
