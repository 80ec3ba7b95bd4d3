"""The nouns of the data: a conversation, its messages and calls, and one exchange of a task."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

EFFORTS = ("none", "low", "medium", "high")


@dataclass(slots=True)
class Call:
    """A function call: `arguments` in the order of the tool's schema."""

    name: str
    arguments: dict[str, Any]


@dataclass(slots=True)
class Message:
    """One message. `ability` names what an assistant message shows; it is None for the other roles."""

    role: str
    content: str
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    ability: str | None = None


@dataclass(slots=True)
class Conversation:
    """A whole conversation; `tools` are function objects (`name`, `description`, `parameters`, ...)."""

    effort: str
    messages: list[Message]
    system: str = ""
    tools: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Thought:
    """What there is to think about a request: a goal ("count"), what it is ("a counting task"), and the steps."""

    goal: str
    kind: str
    steps: tuple[str, ...] = ()

    def write(self, effort: str) -> str:
        """The reasoning text: none is empty, low about 15 tokens, medium about 40, high 120 or more."""
        if effort == "none":
            return ""
        last = self.steps[-1] if self.steps else f"This is {self.kind}."
        if effort == "low":
            return last if self.steps else f"{last} I answer it."
        steps = " ".join(self.steps) if self.steps else f"This is {self.kind}."
        if effort == "medium":
            return f"The user wants me to {self.goal}. {steps} That is all I need. Now I can write the answer."
        return (
            f"The user wants me to {self.goal}. I have time to think about it step by step.\n"
            f"First I read the message again. It is {self.kind}, so I know what to do.\n"
            f"Next I work it out. {steps}\n"
            f"Let me check it once more. {last} That looks right to me.\n"
            "The answer should be short and clear, and I should not add anything else.\n"
            "I am sure about it, so I write the answer now."
        )


@dataclass(slots=True)
class Exchange:
    """One user message and the right reply. `literal` forbids noise and persona decoration (copies, JSON)."""

    user: str
    thought: Thought
    answer: str
    ability: str
    literal: bool = False


@dataclass(slots=True)
class Scene:
    """What a conversation has established so far; tasks read and change it."""

    bot: str = "Spark"
    prefix: str = ""
    suffix: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    number: int | None = None
    prime: int | None = None
    counted_to: int | None = None
    counted_by: int = 1
    hero: tuple[str, str] | None = None
    joked: bool = False
    tool_names: list[str] = field(default_factory=list)
    topics: set[str] = field(default_factory=set)

    def forget_thread(self) -> None:
        """Ends what a follow-up ("multiply it", "continue", "another one") could refer to."""
        self.number = self.prime = self.counted_to = self.hero = None
        self.joked = False


Task = Callable[..., Exchange]
