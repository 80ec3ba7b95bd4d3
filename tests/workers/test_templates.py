"""Templates in their own process: the same prompts as ever, and whatever a hostile one does ends soon and alone."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.workers.test_template import AFTER_CALLS, PATHS, TOKENS, TOOLS, loaded
from workers.template import TemplateError
from workers.templates import Template, Templates

PLAIN = [{"role": "user", "content": "x"}]
CHAT = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
BIG = "{% set ns = namespace(x='abcdefgh') %}"


HARMLESS = ("a regular expression", "bytes", "split")  # within the limits, on a fast machine


@pytest.fixture(scope="module")
async def templates() -> AsyncIterator[Templates]:
    made = Templates(cpu_seconds=0.4, memory_bytes=512 << 20)
    yield made
    await made.close()


def of_process(pid: int, what: str) -> str:
    return Path(f"/proc/{pid}/{what}").read_text()


async def load(templates: Templates, source: str) -> Template:
    return await templates.load(source, {}, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
async def test_every_template_is_the_same_there(path: Path, templates: Templates) -> None:
    dialect, template, traits = loaded(path)
    variables = dialect.template_variables("high")
    there = await templates.load(template.source, dialect.template_variables(None), **TOKENS)
    assert there.traits == traits
    messages, offered = dialect.prepare(AFTER_CALLS, TOOLS, traits)
    if offered:
        variables["tools"] = offered
    assert await there.render(messages, variables) == template.render(messages, variables)


LOOP = "{% for a in range(1000) %}"
ENDLESS = {
    "numbers": LOOP * 3 + "{% endfor %}" * 3,
    "huge ranges": "{% for a in range(10**9) %}{% for b in range(10**9) %}{% endfor %}{% endfor %}",
    "a range that does nothing": "{{ range(10**9) | list | length }}",
    "a list that grows under its loop": "{% set l = [1] %}{% for x in l %}{{ l.append(x) or '' }}{% endfor %}",
    "a list in itself": "{% set l = [1] %}{{ l.append(l) or '' }}{{ l.append(l) or '' }}"
    "{% for x in l recursive %}{% if x is iterable %}{{ loop(x) }}{% endif %}{% endfor %}",
    "loops over what is there": "{% set l = 'x' * 10000 %}" + "{% for a in l %}" * 5 + "{% endfor %}" * 5,
    "long texts again and again": "{% set t = 'a' * 60000000 %}{% for a in 'x' * 10000 %}"
    "{% if t in t + 'b' %}{% endif %}{% endfor %}",
    "macros": "{% macro m(n) %}{% for i in 'xxxxxxxxxx' %}{{ m(n + 1) if n < 30 }}{% endfor %}{% endmacro %}{{ m(0) }}",
    "sorting": "{% set l = ('x' * 1000000) | list %}{% for a in 'x' * 1000 %}{% set b = l | sort %}{% endfor %}",
    "a large power": "{% set ns = namespace(x=10) %}{% for i in 'x' * 60 %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "a regular expression": "{{ (('a@' * 100000) ~ ' ') | urlize }}",
}
ENORMOUS = {
    "times": "{{ 'a' * 10**10 }}",
    "times a list": "{{ [1] * 10**9 }}",
    "doubled by +": BIG + "{% for i in 'x' * 60 %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "doubled by ~": BIG + "{% for i in 'x' * 60 %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "doubled by join": BIG + "{% for i in 'x' * 60 %}{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
    "doubled by a block": BIG
    + "{% for i in 'x' * 60 %}{% set x %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = x %}{% endfor %}",
    "doubled lists": "{% set ns = namespace(x=[1]) %}{% for i in 'x' * 60 %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "lists of lists": "{% set ns = namespace(x=[1]) %}{% for i in 'x' * 60 %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
    "{{ ns.x | tojson }}",
    "replace": "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
    "percent": "{{ '%1000000000s' % 'x' }}",
    "percent star": "{{ '%*d' % (1000000000, 1) }}",
    "format": "{{ '{:1000000000}'.format('x') }}",
    "format of a format": "{{ '{:{}}'.format('x', 1000000000) }}",
    "the filter format": "{{ '%1000000000s' | format('x') }}",
    "center": "{{ 'a' | center(10**10) }}",
    "ljust": "{{ 'a'.ljust(10**10) }}",
    "zfill": "{{ 'a'.zfill(10**9) }}",
    "expandtabs": "{{ ('\t' * 100000).expandtabs(1000000) }}",
    "indent": "{{ ('a\n' * 100000) | indent(100000) }}",
    "indent by a text": "{{ ('a\n' * 1000000) | indent('x' * 1000000) }}",
    "json indented": "{{ [[[[1]]]] | tojson(indent=10**10) }}",
    "wordwrap": "{{ ('a ' * 1000000) | wordwrap(1, wrapstring='x' * 1000000) }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "slice": "{{ [1] | slice(10**9) | list }}",
    "lipsum": "{{ lipsum(n=10**8) }}",
    "a tower of powers": "{{ 10 ** (10 ** 10) }}",
    "bytes": "{{ ('x' * 10000000).encode('utf-32').hex() * 10 }}",
    "much output": "{% for i in 'x' * 10000 %}{{ 'a' * 100000 }}{% endfor %}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "the same in a call block": "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}",
    "translate": "{{ ('a' * 1000000).translate({97: 'b' * 1000000}) }}",
    "split": "{% set ns = namespace(x='a ' * 10000000) %}{{ ns.x.split() | list | tojson | list | tojson }}",
}  # fmt: skip


@pytest.mark.parametrize("name", [*ENDLESS, *ENORMOUS])
async def test_what_takes_too_much_is_ended(name: str, templates: Templates) -> None:
    """Each is refused, for its length, its time or its memory; afterwards others are rendered as before."""
    hostile = {**ENDLESS, **ENORMOUS}[name]
    good = await load(templates, CHAT)
    bad = await load(templates, "{% if messages[0].content == 'x' %}" + hostile + "{% else %}Hello{% endif %}")
    if name in HARMLESS:
        with suppress(TemplateError):
            assert len(await bad.render(PLAIN, {})) <= 64 << 20
    else:
        with pytest.raises(TemplateError) as refused:
            await bad.render(PLAIN, {})
        assert 0 < len(str(refused.value)) < 2000
    assert await good.render(PLAIN, {}) == "user: x\n"
    assert await bad.render([{"role": "user", "content": "y"}], {}) == "Hello"


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ '' | attr('__class__') }}",
    "{{ messages.__class__.__init__.__globals__ }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ messages | map('attr', '__class__') | list }}",
    "{{ messages | groupby('__class__') | map(attribute='grouper') | list }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "{{ '{x.__class__}'.format_map({'x': messages}) }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__.__builtins__ }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__.__globals__ }}",
    "{{ loop.__class__ }}",
    "{% for x in messages %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}{{ m._func }}",
    "{% include '/etc/passwd' %}",
    "{% import '/etc/passwd' as x %}",
    "{% extends '/etc/passwd' %}",
    "{{ messages.clear() }}",
    "{{ messages[0].update(role='z') }}",
    "{{ ().__class__.__base__ }}",
    "{{ (1).__class__ }}",
    "{{ open('/etc/passwd').read() }}",
    "{{ __import__('os') }}",
    "{{ (messages | tojson).__class__ }}",
    "{{ config }}",
]


@pytest.mark.parametrize("escape", ESCAPES)
async def test_no_way_leads_out_of_the_sandbox(escape: str, templates: Templates) -> None:
    try:
        bad = await load(templates, "{% if messages[0].content == 'x' %}[" + escape + "]{% endif %}Hello")
        text = await bad.render(PLAIN, {})
    except TemplateError:
        return
    for found in ("class", "object", "function", "module", "root:", "builtins", "0x"):
        assert found not in text, text
    assert text.removesuffix("Hello") in ("[]", "[[]]", "[None]", "[[Undefined]]"), text


async def test_the_process_has_no_secrets_and_cannot_write(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", "secret")
    await load(templates, CHAT)
    assert templates._process is not None
    templates._process.kill()  # the next one is started with the secret in our environment
    await load(templates, CHAT)
    environment = of_process(templates._process.pid, "environ")
    assert "secret" not in environment
    await load(templates, CHAT)
    limits = of_process(templates._process.pid, "limits")
    assert "Max file size             0" in limits
    assert f"Max address space         {512 << 20}" in limits


async def test_a_template_that_refuses_is_not_ended(templates: Templates) -> None:
    refusing = await load(templates, "{% if messages[0].content == 'x' %}{{ raise_exception('no x') }}{% endif %}ok")
    process = templates._process
    with pytest.raises(TemplateError, match=r"^no x$"):
        await refusing.render(PLAIN, {})
    assert await refusing.render([{"role": "user", "content": "y"}], {}) == "ok"
    assert templates._process is process


async def test_a_bad_template_is_refused_when_it_is_loaded(templates: Templates) -> None:
    for source, reason in (
        ("{% if %}", "not a valid chat template"),
        ("{{ raise_exception('never') }}", "refuses a plain message: never"),
        ("{% for x in 'x' * 10000000 %}{% for x in 'x' * 10000000 %}{% endfor %}{% endfor %}", "s of computing"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", None),
        ("{% if 1 %}" * 5000 + "{% endif %}" * 5000, None),
        ("{{ [" + "[" * 100000, None),
    ):
        with pytest.raises(TemplateError, match=reason):
            await load(templates, source)
    assert await (await load(templates, CHAT)).render(PLAIN, {}) == "user: x\n"


async def test_a_caller_that_leaves_disturbs_nobody(templates: Templates) -> None:
    template = await load(templates, CHAT)
    many = [{"role": "user", "content": str(n)} for n in range(20000)]
    leaving = [asyncio.create_task(template.render(many, {})) for _ in range(5)]
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    texts = await asyncio.gather(*(template.render([{"role": "user", "content": str(n)}], {}) for n in range(20)))
    assert texts == [f"user: {n}\n" for n in range(20)]


async def test_a_process_that_is_killed_is_started_again(templates: Templates) -> None:
    template = await load(templates, CHAT)
    assert templates._process is not None
    os.kill(templates._process.pid, signal.SIGKILL)
    assert await template.render(PLAIN, {}) == "user: x\n"


async def test_a_closed_one_leaves_nothing() -> None:
    templates = Templates()
    template = await load(templates, CHAT)
    assert templates._process is not None
    pid = templates._process.pid
    await templates.close()
    with pytest.raises(FileNotFoundError):
        of_process(pid, "limits")
    with pytest.raises(TemplateError, match="being stopped"):
        await template.render(PLAIN, {})


async def test_any_json_comes_through(templates: Templates) -> None:
    template = await load(templates, "{{ messages[0].content }}{{ x | tojson if x is defined }}")
    values = [2**70, -1.5, None, True, "\ud800", "é\0", {"a": {"b": []}}]
    assert json.loads(await template.render([{"role": "user", "content": ""}], {"x": values})) == values
    assert await template.render([{"role": "user", "content": "\ud800"}], {}) == "\ud800"


async def test_templates_know_the_date(templates: Templates) -> None:
    text = await (await load(templates, "{{ messages[0].content and strftime_now('%Y-%m') }}")).render(PLAIN, {})
    assert text in {(datetime.datetime.now() - datetime.timedelta(seconds=s)).strftime("%Y-%m") for s in (0, 120)}
