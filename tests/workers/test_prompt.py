"""From items to prompts: what the assistant did becomes messages the template can show."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from shared.schema.content import InputText, OutputText, ReasoningText
from shared.schema.items import (
    CustomToolCall,
    CustomToolCallOutput,
    FunctionCall,
    FunctionCallOutput,
    Message,
    Reasoning,
)
from tests.stack import TEMPLATES as PROCESS
from tests.workers.dialects.samples import ISSUES, PATCH, TEMPLATES, WEATHER
from tests.workers.test_template import loaded
from workers.conversation import AnyItem
from workers.dialects.toolbox import Toolbox
from workers.engine.scripted import ScriptedEngine
from workers.prompt import Prompter, to_messages
from workers.template import TemplateError

TOOLS = Toolbox([WEATHER, PATCH, ISSUES])


def user(text: str, role: str = "user") -> Message:
    return Message(id="msg_u", role=role, content=[InputText(text=text)])  # type: ignore[arg-type]


def said(text: str) -> Message:
    return Message(id="msg_a", role="assistant", content=[OutputText(text=text)])


def thought(text: str) -> Reasoning:
    return Reasoning(id="rs", content=[ReasoningText(text=text)])


def called(call_id: str, name: str = "get_weather", arguments: str = '{"city": "Oslo"}', **more: str) -> FunctionCall:
    return FunctionCall(id="fc", call_id=call_id, name=name, arguments=arguments, **more)


def gave(call_id: str, output: str | list[InputText] = "rain") -> FunctionCallOutput:
    return FunctionCallOutput(id="fo", call_id=call_id, output=output)


async def prompter(template: str) -> Prompter:
    return await Prompter.load(ScriptedEngine(chat_template=(TEMPLATES / f"{template}.jinja").read_text()), PROCESS)


def test_parallel_calls_and_the_words_before_them_are_one_message() -> None:
    items = [
        user("Hi"),
        thought("Hm."),
        said("Look."),
        called("a"),
        called("b"),
        gave("a"),
        gave("b", "sun"),
        said("Ok."),
    ]
    messages = to_messages("Be nice.", items, TOOLS)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert messages[2]["content"] == "Look."
    assert messages[2]["reasoning_content"] == "Hm."
    assert [call["id"] for call in messages[2]["tool_calls"]] == ["a", "b"]
    assert messages[2]["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": {"city": "Oslo"}}
    assert messages[3] == {"role": "tool", "tool_call_id": "a", "name": "get_weather", "content": "rain"}


def test_reasoning_before_each_call_stays_with_it() -> None:
    items = [user("Hi"), thought("One."), called("a"), gave("a"), thought("Two."), called("b"), gave("b")]
    messages = to_messages(None, items, TOOLS)
    assert [message.get("reasoning_content") for message in messages if message["role"] == "assistant"] == [
        "One.",
        "Two.",
    ]


def test_custom_and_namespaced_calls_go_back_under_the_names_the_model_knows() -> None:
    items = [
        user("Hi"),
        CustomToolCall(id="c", call_id="a", name="apply_patch", input='*** "x"\n'),
        called("b", "search", "{}", namespace="github"),
        CustomToolCallOutput(id="o", call_id="a", output=[InputText(text="one"), InputText(text="two")]),
        gave("b"),
    ]
    messages = to_messages(None, items, TOOLS)
    functions = [call["function"] for call in messages[1]["tool_calls"]]
    assert functions == [
        {"name": "apply_patch", "arguments": {"input": '*** "x"\n'}},
        {"name": "github__search", "arguments": {}},
    ]
    assert messages[2]["content"] == "one\ntwo"
    assert messages[3]["name"] == "github__search"


def test_arguments_that_are_no_object_are_kept() -> None:
    messages = to_messages(None, [user("Hi"), called("a", arguments="nonsense")], TOOLS)
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == {"input": "nonsense"}


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
async def test_arguments_that_are_nested_too_deeply_are_shown_as_they_are_spelled(path: Path) -> None:
    """A client's own: no check of its request sees into them."""
    spelled = '{"a": ' * 600 + "1" + "}" * 600
    items = [user("Hi"), called("a", arguments=spelled), gave("a"), said("Ok."), user("Bye")]
    assert "Bye" in (await (await prompter(path.stem)).write(None, items, None, TOOLS)).text
    messages = to_messages(None, items, TOOLS)
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == {"input": spelled}


async def test_leading_system_messages_are_one_and_later_ones_stay_visible() -> None:
    items = [
        user("First.", "system"),
        user("Second.", "developer"),
        user("Hi"),
        said("Yo"),
        user("Third.", "system"),
        user("Bye"),
    ]
    for template in ("Qwen-Qwen3-0.6B", "Qwen3.5-4B", "openai-gpt-oss-120b", "google-gemma-2-2b-it"):
        prompt = await (await prompter(template)).write("Zeroth.", items, None)
        for words in ("Zeroth.", "First.", "Second.", "Third.", "Bye"):
            assert words in prompt.text


async def test_mistral_is_given_ids_of_nine_characters() -> None:
    items = [user("Hi"), called("call_abcdefghijkl"), gave("call_abcdefghijkl")]
    text = (await (await prompter("Mistral-Small-3.2-24B-Instruct-2506")).write(None, items, None, TOOLS)).text
    call_id = text.split("[CALL_ID]")[1].split("[ARGS]")[0]
    assert len(call_id) == 9
    assert call_id.isalnum()
    assert f"[TOOL_RESULTS]{call_id}[TOOL_CONTENT]rain" in text


async def test_kimi_counts_calls_through_the_conversation() -> None:
    items = [user("Hi"), called("x"), gave("x"), called("y"), gave("y")]
    text = (await (await prompter("Kimi-K2-Instruct")).write(None, items, None, TOOLS)).text
    assert "functions.get_weather:0<" in text
    assert "## Return of functions.get_weather:1" in text


async def test_a_harmony_preamble_outlasts_the_final_answer() -> None:
    """The template drops what came before a call as soon as there is an answer."""
    items = [
        user("Hi"),
        thought("Hm."),
        said("Let me look."),
        called("a"),
        gave("a"),
        said("It rains."),
        user("Thanks"),
    ]
    text = (await (await prompter("openai-gpt-oss-120b")).write(None, items, "low", TOOLS)).text
    assert text.count("Let me look.") == 1
    assert text.index("Let me look.") < text.index("to=functions.get_weather") < text.index("It rains.")


async def test_a_harmony_preamble_keeps_its_channel() -> None:
    items = [user("Hi"), thought("Hm."), said("Look."), called("a"), gave("a")]
    text = (await (await prompter("openai-gpt-oss-120b")).write(None, items, "low", TOOLS)).text
    assert (
        "<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|>"
        "<|start|>assistant<|channel|>commentary<|message|>Look.<|end|>"
        "<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>"
    ) in text
    assert "Reasoning: low" in text


async def test_older_reasoning_is_dropped_as_the_template_does_it() -> None:
    items = [user("Hi"), thought("Old."), said("Yo"), user("Go"), thought("New."), called("a"), gave("a")]
    for template in ("Qwen-Qwen3-0.6B", "GLM-4.6", "openai-gpt-oss-120b", "MiniMax-M2", "Qwen3.5-4B"):
        text = (await (await prompter(template)).write(None, items, "high", TOOLS)).text
        assert "New." in text, template
        assert "Old." not in text, template


async def test_tools_are_told_where_the_template_does_not() -> None:
    for template in ("google-gemma-2-2b-it", "microsoft-Phi-3.5-mini-instruct", "deepseek-ai-DeepSeek-V3.1"):
        text = (await (await prompter(template)).write(None, [user("Hi")], None, TOOLS)).text
        assert "get_weather" in text
        assert "github__search" in text


async def test_a_budget_is_kept_only_where_the_template_knows_no_levels() -> None:
    for template, needed in [("openai-gpt-oss-120b", False), ("ByteDance-Seed-OSS", False), ("Qwen-Qwen3-0.6B", True)]:
        assert (await prompter(template)).needs_budget is needed


async def test_a_model_without_a_template_is_refused() -> None:
    with pytest.raises(TemplateError, match="no chat template"):
        await Prompter.load(ScriptedEngine(chat_template=None), PROCESS)


async def test_a_template_that_cannot_show_a_message_is_refused() -> None:
    with pytest.raises(TemplateError, match="refuses a plain message: never"):
        await Prompter.load(ScriptedEngine(chat_template="{{ raise_exception('never') }}"), PROCESS)


def test_names_of_tools_come_back() -> None:
    toolbox = Toolbox([ISSUES, WEATHER.__class__(name="github__search")])
    assert [tool.name for tool in toolbox] == ["github__search", "github__search_"]
    flat = toolbox.get("github__search")
    assert flat is not None
    assert (flat.namespace, flat.tool.name) == ("github", "search")
    assert toolbox.name_of("github__search", None) == "github__search_"


def test_a_call_id_that_comes_again_keeps_each_output_with_its_own_call() -> None:
    turns = [[user("Hi"), called("a"), user("Well?"), gave("a", output), said("So.")] for output in ("one", "two")]
    for path in ("Qwen-Qwen3-0.6B", "mistralai-Ministral-3-14B-Reasoning-2512"):
        dialect, _, traits = loaded(TEMPLATES / f"{path}.jinja")
        prepared, _ = dialect.prepare(to_messages(None, chain.from_iterable(turns), TOOLS), TOOLS, traits)
        roles = [message["role"] for message in prepared]
        outputs = [n for n, role in enumerate(roles) if role == "tool"]
        assert [prepared[n]["content"] for n in outputs] == ["one", "two"]
        assert all(prepared[n - 1].get("tool_calls") for n in outputs)


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
async def test_outputs_are_shown_in_the_order_of_their_calls(path: Path) -> None:
    """Whichever ended first: many templates tell them by their places alone."""
    calls = [called("a", arguments='{"city": "Oslo"}'), called("b", arguments='{"city": "Bern"}')]
    written = await prompter(path.stem)
    asked = [user("Hi"), *calls]
    in_order = (await written.write(None, [*asked, gave("a", "drizzle"), gave("b", "sun")], None, TOOLS)).text
    assert in_order.index("drizzle") < in_order.index("sun")
    assert (await written.write(None, [*asked, gave("b", "sun"), gave("a", "drizzle")], None, TOOLS)).text == in_order


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
@pytest.mark.parametrize("later", [1, 2])
async def test_call_ids_that_come_again_keep_each_output_in_its_turn(path: Path, later: int) -> None:
    first = [called("a"), called("b"), gave("a", "one"), gave("b", "two"), said("So.")]
    second = [*[called("a"), called("b")][:later], *[gave("a", "three"), gave("b", "four")][:later]]
    text = (
        await (await prompter(path.stem)).write(None, [user("Hi"), *first, user("Well?"), *second], None, TOOLS)
    ).text
    places = [text.rindex(word) for word in ("one", "two", "Well?", "three", *(["four"] if later == 2 else []))]
    assert places == sorted(places)


NO_WORDS_BEFORE_CALLS = ("mistralai-Mistral-Nemo", "Mistral-Small")
ODD = {
    "the user behind an output": [user("Q1"), called("a"), gave("a", "drizzle"), user("Q2")],
    "a developer behind an output": [user("Q1"), called("a"), gave("a", "drizzle"), user("Q2", "developer")],
    "the assistant first": [said("A1"), user("Q2")],
    "a call first": [called("a"), gave("a", "drizzle"), said("A1"), user("Q2")],
    "an output first": [called("a"), gave("a", "drizzle")],
    "words, thoughts, a call": [user("Q1"), said("A1"), thought("Hm."), called("a"), gave("a", "drizzle"), user("Q2")],
    "the user between a call and its output": [user("Q1"), called("a"), user("Q2"), gave("a", "drizzle"), said("A1")],
    "an answer without a word": [user("Q1"), said(""), user("Q2")],
    "words before a call and behind it": [user("Q1"), said("A1"), thought("Hm."), called("a"), gave("a"), said("A2")],
    "a rule between answers": [user("Q1"), said("A1"), user("Q2", "system"), said("A2"), user("Bye")],
    "two answers": [user("Q1"), said("A1"), said("A2"), user("Q2")],
    "developers alone": [user("Q1", "developer")],
    "nobody": [],
}


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
@pytest.mark.parametrize("history", ODD.values(), ids=list(ODD))
async def test_an_odd_conversation_is_shown_by_every_template(path: Path, history: list[AnyItem]) -> None:
    """Some refuse what is ordinary here, such as a question behind an output. Nothing is left out for that."""
    text = (await (await prompter(path.stem)).write("Be nice.", history, None, TOOLS)).text
    words = [word for word in ("Q1", "Q2", "drizzle", "A1", "A2") if word in str(history)]
    if "A1" in words and words[-1] == "A2" and path.stem.startswith(NO_WORDS_BEFORE_CALLS):
        words.remove("A1")
    assert [word for word in words if text.count(word) != 1] == []
    if words[-1:] == ["Q2"]:
        assert "Be nice." in text
