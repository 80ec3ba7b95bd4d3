"""Chat templates render as their authors' own renderer does, and a bad one can neither run code nor eat the machine."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from jinja2.exceptions import SecurityError
from transformers.utils.chat_template_utils import _compile_jinja_template

from tests.workers.dialects.samples import NOW, TEMPLATES, WEATHER
from workers.dialects import detect
from workers.dialects.base import Dialect
from workers.dialects.history import Messages, assistant, output
from workers.dialects.toolbox import Toolbox
from workers.probe import Traits, probe
from workers.template import ChatTemplate, TemplateError

PATHS = sorted(TEMPLATES.glob("*.jinja"))
TOOLS = Toolbox([WEATHER, NOW])

PLAIN: Messages = [{"role": "user", "content": "Hello <b>there</b>, \"ünïcödé\" & 'quotes'"}]
TALK: Messages = [
    {"role": "system", "content": "Be brief."},
    *PLAIN,
    assistant("Hi.", reasoning="They greet."),
    {"role": "user", "content": "And the weather?"},
]
CALLS: Messages = [
    *TALK,
    assistant(
        "Let me look.",
        reasoning="Two calls.",
        calls=[("call_1", "get_weather", {"city": "Oslo <é>", "days": 2}), ("call_2", "now", {})],
    ),
    output("call_1", "get_weather", '{"rain": true}'),
    output("call_2", "now", "12:00"),
]
AFTER_CALLS: Messages = [*CALLS, assistant("It rains."), {"role": "user", "content": "Thanks"}]
CONVERSATIONS = (PLAIN, TALK, CALLS, AFTER_CALLS)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


@cache
def loaded(path: Path) -> tuple[Dialect, ChatTemplate, Traits]:
    source = path.read_text()
    dialect, template = detect(source), ChatTemplate(source, **TOKENS)
    return dialect, template, probe(template, dialect.template_variables(None))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
@pytest.mark.parametrize("effort", [None, "none", "high"])
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["no tools", "tools"])
def test_every_template_renders_as_transformers_does(path: Path, effort: str | None, tools: Toolbox | None) -> None:
    dialect, template, traits = loaded(path)
    reference = _compile_jinja_template(template.source)
    for conversation in CONVERSATIONS:
        variables = dialect.template_variables(effort)
        messages, offered = dialect.prepare(conversation, tools, traits)
        if offered:
            variables["tools"] = offered
        ours = template.render(messages, variables)
        assert "Hello" in ours
        if path.stem.startswith("Kimi") and any("tool_calls" in message for message in messages):
            with pytest.raises(SecurityError, match="append"):  # its own template is more than their sandbox allows
                reference.render(messages=messages, add_generation_prompt=True, **TOKENS, **variables)
            continue
        assert ours == reference.render(messages=messages, add_generation_prompt=True, **TOKENS, **variables)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_template_shows_calls_and_outputs(path: Path) -> None:
    dialect, template, traits = loaded(path)
    variables = dialect.template_variables("high")
    messages, offered = dialect.prepare(CALLS, TOOLS, traits)
    if offered:
        variables["tools"] = offered
    prompt = template.render(messages, variables)
    shown = prompt[prompt.rindex("And the weather?") :]
    for said in ("get_weather", "Oslo <é>", "now", "rain", "12:00"):
        assert said in shown, shown
    parser = dialect.parser("", TOOLS)
    calls = [piece.text for piece in [*parser.feed(shown), *parser.finish()] if piece.kind == "call"]
    if dialect.name not in ("harmony", "llama-3"):  # each call is a message of its own there
        assert calls == ["get_weather", "now"], shown


def test_the_filters_and_blocks_of_real_templates() -> None:
    source = (
        "{% generation %}{{ messages[0].content }}{% endgeneration %}"
        "{{ {'b': '<é>', 'a': [1]} | tojson(indent=1, sort_keys=true, separators=(',', ':')) }}"
        "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}"
        "{{ dict(a=1) }}{{ {'k': 1}.items() | list }}{{ ('%Y' | length) }}{{ strftime_now('%%') }}"
    )
    ours = ChatTemplate(source).render([{"role": "user", "content": "x"}], {})
    theirs = _compile_jinja_template(source).render(messages=[{"role": "user", "content": "x"}])
    assert ours == theirs


def test_what_a_template_raises_is_said() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(TemplateError, match="roles must alternate"):
        template.render(PLAIN, {})


def test_a_broken_template_is_refused_when_it_is_made() -> None:
    with pytest.raises(TemplateError, match="not a valid chat template"):
        ChatTemplate("{% if %}")


@pytest.mark.parametrize(
    "hostile",
    [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 10 ** 10000000 }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ lipsum.__globals__ }}",
        "{{ messages.clear() }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for i in range(99999) %}{{ 'a' * 10000 }}{% endfor %}",
    ],
)
def test_a_hostile_template_gets_nothing(hostile: str) -> None:
    try:
        text = ChatTemplate(hostile).render([{"role": "user", "content": "x"}], {})
    except TemplateError:
        return
    assert not text.strip(), text[:80]  # attributes that may not be read are only empty
