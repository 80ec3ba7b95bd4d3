"""Every template whose models may think, and what they then write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.workers.dialects.samples import SAMPLES, TEMPLATES
from workers.dialects import detect
from workers.dialects.base import Dialect, Opening
from workers.probe import Traits, probe
from workers.template import ChatTemplate

UNKNOWN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}[bot]<think>"
"""A template of no known family."""


@cache
def source(name: str) -> str:
    return UNKNOWN if name == "unknown" else (TEMPLATES / f"{name}.jinja").read_text()


@cache
def compiled(name: str) -> ChatTemplate:
    return ChatTemplate(source(name))


@dataclass(frozen=True)
class Thinker:
    """A template, and what its models write where they think."""

    name: str

    @property
    def dialect(self) -> Dialect:
        return detect(source(self.name))

    @property
    def traits(self) -> Traits:
        return probe(compiled(self.name), self.dialect.template_variables("high"))

    @property
    def prompt(self) -> str:
        return compiled(self.name).render(
            [{"role": "user", "content": "Hello"}], self.dialect.template_variables("high")
        )

    @property
    def opening(self) -> str:
        """What the model writes to begin its thinking."""
        if self.name.startswith("openai"):
            return "<|channel|>analysis<|message|>"
        if self.dialect.opening(self.prompt) is Opening.REASONING:
            return ""
        begin: str = self.dialect.think[0]  # type: ignore[attr-defined]
        return begin + ("\n" if self.dialect.reasoning_end.startswith("\n") else "")

    @property
    def end(self) -> tuple[str, str]:
        """What the model writes to end it, and what then comes that belongs to neither the thinking nor the answer."""
        marker = "<|end|>" if self.name.startswith("openai") else self.dialect.think[1]  # type: ignore[attr-defined]
        before, found, after = self.dialect.reasoning_end.partition(marker)
        return before + found, after

    @property
    def head(self) -> str:
        """What stands before an answer."""
        return "<|channel|>final<|message|>" if self.name.startswith("openai") else ""

    @property
    def call(self) -> str:
        """A call as the family's models write it behind their thinking."""
        if self.name.startswith("openai"):
            return "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}"
        family = "hermes" if self.name == "unknown" else self.dialect.name
        output = next(s.output for s in SAMPLES if s.dialect.name == family and s.what == "one_call")
        return output.removeprefix("</think>\n\n")

    @property
    def calls_end_thinking(self) -> bool:
        return getattr(self.dialect, "calls_end_reasoning", False)


def thinkers() -> Iterator[Thinker]:
    for path in sorted(TEMPLATES.glob("*.jinja")):
        thinker = Thinker(path.stem)
        if thinker.dialect.opening(thinker.prompt) is not Opening.ANSWER:
            yield thinker
    yield Thinker("unknown")


THINKERS = list(thinkers())
OTHERS = sorted({path.stem for path in TEMPLATES.glob("*.jinja")} - {thinker.name for thinker in THINKERS})
"""Templates whose models never think."""
