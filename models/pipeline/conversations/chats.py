"""Conversations without tools."""

from . import chat, documents, lists, memory, numbers, persona, structured, texts
from .conversation import EFFORTS, Conversation, Exchange, Message, Scene, Task, Thought
from .dice import Dice
from .toolbox import LOOKUPS, SIMPLE

TASKS: list[tuple[Task, float]] = [
    (chat.small_talk, 10), (chat.introduce, 7), (chat.joke, 1.5), (chat.unknown, 8), (chat.noise, 1.5),
    (chat.list_tools, 0.7), (memory.tell, 7), (memory.recall, 6), (memory.tell_and_ask, 6), (memory.summarise, 3.5),
    (memory.summarise_transcript, 1.5), (numbers.sum_, 16), (numbers.follow_up, 4), (numbers.prime, 8),
    (numbers.count, 8), (lists.known_list, 5), (lists.some_of, 4), (lists.capital, 4), (lists.country_of, 0.6),
    (lists.opposite, 1.5), (lists.what_comes_next, 1.5), (lists.largest, 4), (lists.go_on, 1), (texts.repeat, 12),
    (texts.story, 3.5), (texts.poem, 1.5), (texts.read_this, 1), (structured.from_pairs, 8),
    (structured.from_sentence, 4), (documents.pasted, 2),
]


def cannot(d: Dice, s: Scene) -> Exchange:
    """An action that would need a tool, with no tools at hand."""
    tool = d.pick([recipe for recipe in SIMPLE if recipe.topic not in LOOKUPS | {"convert", "translate", "shell",
                                                                                 "code"}])
    user, _ = tool.make(d).ask(d)
    thought = Thought("do something that needs a tool", "a request for an action", ("I have no tools here.",))
    return Exchange(user, thought, "I cannot do that, because I have no tools in this conversation.", "no_tool")


TASKS.append((cannot, 2))
_FUNCTIONS, _WEIGHTS = [t for t, _ in TASKS], [w for _, w in TASKS]


def next_task(d: Dice, s: Scene) -> Task:
    """A random task, more often one that refers back when there is something to refer to."""
    if s.facts and d.chance(0.28):
        return d.pick([memory.recall, memory.recall, memory.summarise])
    if s.number is not None and d.chance(0.5):
        return numbers.prime if s.prime is not None and d.chance(0.3) else numbers.follow_up
    if (s.counted_to is not None or s.hero is not None) and d.chance(0.35):
        return lists.go_on
    if s.joked and d.chance(0.4):
        return chat.joke
    return d.weighted(_FUNCTIONS, _WEIGHTS)


def effort(d: Dice) -> str:
    return d.weighted(EFFORTS, [0.34, 0.22, 0.26, 0.18])


def perform(d: Dice, s: Scene, task: Task) -> Exchange:
    """Runs one task in the scene: a task that is no follow-up ends what a follow-up could mean."""
    follows = task in (numbers.follow_up, numbers.prime, lists.go_on, chat.joke)
    if not follows or (task is lists.go_on and s.counted_to is None and s.hero is None):
        s.forget_thread()
    elif task is chat.joke or task is lists.go_on:
        s.number = s.prime = None
    else:
        s.counted_to = s.hero = None
        s.joked = False
    exchange = task(d, s)
    if exchange.literal:
        exchange.user = chat.ask_politely(d, exchange.user, copied=True)
    else:
        exchange.user = chat.surface(d, exchange.user)
        exchange.answer = s.prefix + exchange.answer + s.suffix
    return exchange


def append(conversation: Conversation, exchange: Exchange) -> None:
    conversation.messages.append(Message("user", exchange.user))
    conversation.messages.append(Message("assistant", exchange.answer, exchange.thought.write(conversation.effort),
                                         ability=exchange.ability))


def talk(d: Dice, task: Task | None = None, turns: int | None = None, with_persona: bool | None = None) -> Conversation:
    """One to eight exchanges; `task` fixes the only one."""
    s, conversation = Scene(), Conversation(effort(d), [])
    if d.chance(0.34) if with_persona is None else with_persona:
        conversation.system = persona.prompt(d, s)
    if task is None and d.chance(0.05):
        for exchange in memory.key_values(d, s):
            append(conversation, exchange)
        return conversation
    if task is None and d.chance(0.045):
        return json_talk(d)
    for _ in range(turns or (1 if task else d.pick([1, 1, 2, 2, 3, 4, 5, 6, 8]))):
        append(conversation, perform(d, s, task or next_task(d, s)))
    return conversation


def json_talk(d: Dice) -> Conversation:
    """A schema in the system prompt and one or two texts to extract from."""
    system, exchange = structured.by_schema(d, Scene())
    conversation = Conversation(effort(d), [], system=system)
    append(conversation, exchange)
    return conversation
