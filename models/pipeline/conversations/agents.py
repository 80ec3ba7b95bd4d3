"""Conversations with tools: one call, parallel calls, no call, and answers from what came back."""

import json
from typing import Any

from . import chat, documents, lists, memory, numbers, persona, results, texts
from .chats import append, effort, perform
from .conversation import Call, Conversation, Exchange, Message, Scene, Thought
from .dice import Dice, cap, join_and, lower_first
from .filler import rule, statement
from .structured import plain
from .toolbox import SIMPLE, Arguments, Tool, weather
from .toolgen import made_up


def choose(d: Dice, n: int) -> list[Tool]:
    """`n` tools with different names and topics."""
    tools: list[Tool] = []
    if d.chance(0.1):
        tools += documents.tools(d)
    elif d.chance(0.05):
        tools.append(documents.page_reader(d))
    while len(tools) < n:
        shape = d.rng.random()
        tool = weather(d) if shape < 0.17 else d.pick(SIMPLE).make(d) if shape < 0.5 else made_up(d)
        if all(tool.name != t.name and tool.topic != t.topic for t in tools):
            tools.append(tool)
    d.shuffle(tools)
    return tools


def function(d: Dice, tool: Tool, style: dict[str, bool]) -> dict[str, Any]:
    """The function object of a tool, in one of the layouts that clients send."""
    description = tool.description
    if style["wordy"]:
        more = [d.pick([rule, statement])(d) for _ in range(d.randint(1, 5))]
        description = " ".join([description.rstrip(".") + ".", *more])
    parameters: dict[str, Any] = {"type": "object", "properties": tool.properties}
    if tool.required or style["always_required"]:
        parameters["required"] = tool.required
    if style["closed"]:
        parameters["additionalProperties"] = False
    out: dict[str, Any] = {"name": tool.name}
    if description:
        out["description"] = description
    if tool.properties or style["always_parameters"]:
        out["parameters"] = parameters
    if style["strict"]:
        out["strict"] = d.chance(0.8)
    if style["sorted"]:
        out = json.loads(json.dumps(out, sort_keys=True))
    return out


def _step(tool: Tool, arguments: Arguments) -> str:
    said = join_and([f"{k} {plain(v)}" for k, v in arguments.items() if not isinstance(v, (dict, list))])
    return f"I call {tool.name} with {said}." if said and len(said) < 60 else f"I call {tool.name}."


def _one(d: Dice, tools: list[Tool]) -> tuple[str, list[tuple[Tool, Arguments]]]:
    tool = d.pick(tools)
    text, arguments = tool.ask(d)
    return (chat.surface(d, text) if d.chance(0.4) else text), [(tool, ordered(tool, arguments))]


def ordered(tool: Tool, arguments: Arguments) -> Arguments:
    """The arguments in the order of the schema."""
    return {key: arguments[key] for key in tool.properties if key in arguments}


def _several(d: Dice, tools: list[Tool]) -> tuple[str, list[tuple[Tool, Arguments]]]:
    """Two or three calls asked for in one message."""
    by_place = [t for t in tools if t.place_key]
    if by_place and d.chance(0.7):
        tool = d.pick(by_place)
        places: list[str] = []
        while len(places) < d.pick([2, 2, 3]):
            place = d.city()
            if "," not in place and place not in places:
                places.append(place)
        what = "weather" if tool.topic == "weather" else "time"
        listed = join_and(places) if d.chance(0.8) else " and ".join(f"in {p}" for p in places).removeprefix("in ")
        text = d.say(["What's the {w} in {c}?", "What is the {w} like in {c}?", "Tell me the {w} in {c}.",
                      "Compare the {w} in {c}.", "{W} in {c}?",
                      "What is the {w} in {c} today?"] if what == "weather" else
                     ["What time is it in {c}?", "Tell me the {w} in {c}.", "{W} in {c}?", "What is the {w} in {c}?"],
                     ["Can you tell me the {w} in {c}?", "I need the {w} in {c}."]).format(w=what, W=cap(what),
                                                                                           c=listed)
        defaults = {k: v for k, v in tool.ask(d)[1].items() if k == tool.place_key or k in tool.required}
        unit = {k: (None if isinstance(tool.properties[k].get("type"), list) else tool.properties[k]["enum"][0])
                for k in defaults if k != tool.place_key}
        return text, [(tool, ordered(tool, {tool.place_key or "": place, **unit})) for place in places]
    count = d.pick([2, 2, 2, 3])
    chosen = [d.pick(tools) for _ in range(count)] if d.chance(0.3) else d.sample(tools, min(count, len(tools)))
    if len(chosen) < 2:
        chosen = [tools[0], tools[0]]
    asks = [tool.ask(d) for tool in chosen]
    if d.chance(0.35):
        text = " ".join(t if t[-1] in ".?!" else t + "." for t, _ in asks)
    else:
        texts_ = [asks[0][0].rstrip(".?")] + [lower_first(t).rstrip(".?") for t, _ in asks[1:]]
        joiner = d.pick([", and also ", " and ", " and then ", ", then ", ". Also, "])
        text = (", ".join(texts_[:-1]) + joiner + texts_[-1]) + d.pick([".", ""])
    return text, [(tool, ordered(tool, a)) for tool, (_, a) in zip(chosen, asks, strict=True)]


def no_tool(d: Dice, s: Scene) -> Exchange:
    """A request for a tool that is not there."""
    while True:
        tool = weather(d) if d.chance(0.3) else d.pick(SIMPLE).make(d) if d.chance(0.6) else made_up(d)
        overlapping = {"file", "shell", "code", "math"}
        taken = s.topics | (overlapping if overlapping & s.topics else {"math"})
        if tool.topic not in taken and tool.name not in s.tool_names:
            break
    user, _ = tool.ask(d)
    if user.startswith(("Use ", "Call ")):
        return no_tool(d, s)
    thought = Thought("do something that needs a tool", "a request that needs a tool", ("I have no tool for this.",))
    return Exchange(user, thought, "Sorry, I have no tool for that.", "no_tool")


def _chat_task(d: Dice, s: Scene) -> Exchange:
    """An exchange that needs no function."""
    tasks: list[tuple[Any, float]] = [
        (chat.small_talk, 8), (chat.introduce, 3), (lists.known_list, 2), (lists.capital, 2), (memory.tell, 3),
        (memory.recall, 3), (memory.tell_and_ask, 2), (memory.summarise, 1), (texts.repeat, 4), (texts.story, 0.5),
        (no_tool, 7), (chat.list_tools, 2), (numbers.prime, 3), (numbers.count, 2), (lists.some_of, 1), (chat.joke,
                                                                                                         0.5)]
    if "search" not in s.topics:
        tasks.append((chat.unknown, 4))
    if "math" not in s.topics and "code" not in s.topics:
        tasks += [(numbers.sum_, 4), (numbers.follow_up, 2)]
    exchange = perform(d, s, d.weighted([t for t, _ in tasks], [w for _, w in tasks]))
    if exchange.ability not in ("no_tool", "unknown", "recall", "fact_and_question"):
        exchange.ability = "no_call"
    exchange.thought.steps = ("I need no function for this.", *exchange.thought.steps)
    return exchange


def _answer(d: Dice, conversation: Conversation, s: Scene, calls: list[tuple[Tool, Arguments]]) -> None:
    """Appends the tool results and the answer that reports them."""
    told: list[str] = []
    failed = False
    for tool, arguments in calls:
        wrong = d.chance(0.12)
        failed = failed or wrong
        result = results.error(d) if wrong else tool.result(d, arguments)
        conversation.messages.append(Message("tool", results.to_content(d, result)))
        told.append(results.report(result) if wrong else tool.answer(arguments, result))
    steps = ("The function failed.", "I tell the user what went wrong.") if failed else (
        "The function returned a result.", "I tell the user what it says.")
    is_document = any(t.name.endswith(("documentation", "docs", "readme", "manual")) or t.topic == "page" for t,
                      _ in calls)
    ability = "tool_error" if failed else "document" if is_document else "tool_answer"
    thought = Thought("report a result of a function", "the result of a function", steps)
    conversation.messages.append(Message("assistant", s.prefix + " ".join(told) + s.suffix,
                                         thought.write(conversation.effort), ability=ability))


def _request(d: Dice, conversation: Conversation, s: Scene, tools: list[Tool], again: Tool | None) -> Tool | None:
    """Appends a request, its calls and (mostly) the results; returns a tool that "and in Rome?" may refer to."""
    s.forget_thread()
    several = d.chance(0.24)
    if again is not None and d.chance(0.5) and len(again.required) == 1:
        place = d.city()
        text = d.say(["And in {}?", "What about {}?", "And {}?", "How about {}?", "Now in {}."],
                     ["And what about {}?"]).format(place)
        calls, several = [(again, {again.place_key or "": place})], False
    else:
        text, calls = _several(d, tools) if several else _one(d, tools)
    conversation.messages.append(Message("user", text))
    steps = [_step(tool, arguments) for tool, arguments in calls]
    first = f"The function {calls[0][0].name} fits." if not several else f"This needs {len(calls)} calls."
    thought = Thought("do something with a function", "a request for a function", (first, *steps))
    conversation.messages.append(Message(
        "assistant", "", thought.write(conversation.effort), [Call(tool.name, a) for tool, a in calls],
        "parallel" if several else "call"))
    _answer(d, conversation, s, calls)
    return calls[0][0] if calls[0][0].place_key and not several else None


def act(d: Dice, turns: int | None = None) -> Conversation:
    """One to four user messages with one to ten tools at hand."""
    s, conversation = Scene(), Conversation(effort(d), [])
    tools = choose(d, d.pick([1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 8, 10]))
    s.tool_names, s.topics = [t.name for t in tools], {t.topic for t in tools}
    style = {key: d.chance(p) for key, p in (("wordy", 0.15), ("always_required", 0.7), ("closed", 0.4),
                                             ("always_parameters", 0.85), ("strict", 0.25), ("sorted", 0.25))}
    if d.chance(0.35):
        conversation.system = d.pick(
            ["You are a helpful assistant.", "You can use tools.", "Use the tools when needed.", "Be brief.",
             "You are an assistant with tools.", "You are a helpful assistant with access to tools."]
        ) if d.chance(0.6) else persona.neutral(d) if d.chance(0.7) else persona.prompt(d, s)
    again: Tool | None = None
    for _ in range(turns or d.pick([1, 1, 2, 2, 3, 4])):
        if d.chance(0.27):
            append(conversation, _chat_task(d, s))
            again = None
        else:
            again = _request(d, conversation, s, tools, again)
    if style["sorted"]:
        for tool in tools:
            tool.properties = dict(sorted(tool.properties.items()))
    conversation.tools = [function(d, tool, style) for tool in tools]
    return conversation
