"""Which family a template is of, what the effort tells it, and what its prompts leave open."""

from __future__ import annotations

from functools import cache

import pytest

from shared.schema.tools import FunctionTool
from tests.workers.dialects.samples import TEMPLATES, dialect_of
from workers.dialects import detect
from workers.dialects.base import Opening
from workers.dialects.marked import EFFORTS
from workers.dialects.toolbox import Toolbox
from workers.template import ChatTemplate

FAMILIES = {
    "ByteDance-Seed-OSS": "seed-oss",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "command-r",
    "GLM-4.6": "glm",
    "GLM-4.7-Flash": "glm-4.7",
    "HuggingFaceTB-SmolLM3-3B": "smollm3",
    "Kimi-K2-Instruct": "kimi",
    "Kimi-K2-Thinking": "kimi",
    "LFM2-8B-A1B": "lfm2",
    "MiniMax-M2": "minimax",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "qwen-xml",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "Qwen-QwQ-32B": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen3-Coder": "qwen-xml",
    "Qwen3.5-4B": "qwen-xml",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "deepseek-r1",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "deepseek-r1",
    "deepseek-ai-DeepSeek-V3.1": "deepseek-v3.1",
    "deepseek-ai-DeepSeek-V3.2": "deepseek-v3.2",
    "google-gemma-2-2b-it": "gemma",
    "google-gemma-4-31B-it": "gemma-4",
    "ibm-granite-granite-3.3-2B-Instruct": "granite-3",
    "ibm-granite-granite-4.0": "hermes",
    "meta-llama-Llama-3.1-8B-Instruct": "llama-3",
    "meta-llama-Llama-3.2-3B-Instruct": "llama-3",
    "meta-llama-Llama-3.3-70B-Instruct": "llama-3",
    "microsoft-Phi-3.5-mini-instruct": "phi",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral",
    "openai-gpt-oss-120b": "harmony",
    "unsloth-mistral-Devstral-Small-2507": "mistral",
}

OPENINGS = {  # with thinking, without
    "Qwen-Qwen3-0.6B": (Opening.MAY_REASON, Opening.ANSWER),
    "Qwen-QwQ-32B": (Opening.REASONING, Opening.ANSWER),
    "Qwen-Qwen2.5-7B-Instruct": (Opening.ANSWER, Opening.ANSWER),
    "Qwen3.5-4B": (Opening.REASONING, Opening.ANSWER),
    "Qwen3-Coder": (Opening.ANSWER, Opening.ANSWER),
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (Opening.REASONING, Opening.ANSWER),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": (Opening.REASONING, Opening.REASONING),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": (Opening.REASONING, Opening.ANSWER),
    "deepseek-ai-DeepSeek-V3.1": (Opening.REASONING, Opening.ANSWER),
    "deepseek-ai-DeepSeek-V3.2": (Opening.REASONING, Opening.ANSWER),
    "google-gemma-2-2b-it": (Opening.ANSWER, Opening.ANSWER),
    "google-gemma-4-31B-it": (Opening.MAY_REASON, Opening.ANSWER),
    "GLM-4.6": (Opening.MAY_REASON, Opening.ANSWER),
    "GLM-4.7-Flash": (Opening.REASONING, Opening.ANSWER),
    "Kimi-K2-Instruct": (Opening.ANSWER, Opening.ANSWER),
    "Kimi-K2-Thinking": (Opening.MAY_REASON, Opening.MAY_REASON),
    "MiniMax-M2": (Opening.REASONING, Opening.REASONING),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": (Opening.MAY_REASON, Opening.ANSWER),
    "HuggingFaceTB-SmolLM3-3B": (Opening.MAY_REASON, Opening.ANSWER),
    "ByteDance-Seed-OSS": (Opening.MAY_REASON, Opening.ANSWER),
    "mistralai-Ministral-3-14B-Reasoning-2512": (Opening.MAY_REASON, Opening.MAY_REASON),
    "meta-llama-Llama-3.1-8B-Instruct": (Opening.ANSWER, Opening.ANSWER),
    "openai-gpt-oss-120b": (Opening.MAY_REASON, Opening.MAY_REASON),
}


@cache
def compiled(template: str) -> ChatTemplate:
    return ChatTemplate((TEMPLATES / f"{template}.jinja").read_text())


def prompt(template: str, effort: str | None) -> str:
    variables = dialect_of(template).template_variables(effort)
    return compiled(template).render([{"role": "user", "content": "Hello"}], variables)


def test_every_template_is_of_its_family() -> None:
    found = {path.stem: dialect_of(path.stem).name for path in TEMPLATES.glob("*.jinja")}
    assert found == FAMILIES


@pytest.mark.parametrize("template", OPENINGS)
def test_what_a_prompt_leaves_open(template: str) -> None:
    dialect = dialect_of(template)
    assert dialect.opening(prompt(template, "high")) is OPENINGS[template][0]
    assert dialect.opening(prompt(template, "none")) is OPENINGS[template][1]
    reasoning = OPENINGS[template][0] is Opening.REASONING
    assert dialect.parser(prompt(template, "high")).reasoning is reasoning


@pytest.mark.parametrize("template", FAMILIES)
def test_every_effort_renders(template: str) -> None:
    for effort in (None, "none", "minimal", "low", "medium", "high", "xhigh"):
        assert "Hello" in prompt(template, effort)


def test_levels_of_effort_reach_templates_that_know_them() -> None:
    assert "Reasoning: high" in prompt("openai-gpt-oss-120b", "xhigh")
    assert "Reasoning: high" in prompt("openai-gpt-oss-120b", "max")
    assert "Reasoning: medium" in prompt("openai-gpt-oss-120b", None)
    assert "thinking budget, which is 1024" in prompt("ByteDance-Seed-OSS", "low")
    leveled = detect("<tool_call> {{ reasoning_effort }} </think>")
    assert leveled.template_variables("low") == {"reasoning_effort": "low", "enable_thinking": True, "thinking": True}


def test_an_effort_that_a_template_does_not_know_becomes_the_nearest() -> None:
    some = detect("</think> {% if reasoning_effort in ['none', 'low', 'medium', 'high'] %}{% endif %}")
    told = {effort: some.template_variables(effort)["reasoning_effort"] for effort in EFFORTS}
    assert told == {**{effort: effort for effort in ("none", "low", "medium", "high")},
                    "minimal": "low", "xhigh": "high", "max": "high"}  # fmt: skip
    binary = detect("</think> {{ 'x' if reasoning_effort == \"high\" }}")
    assert {binary.template_variables(effort)["reasoning_effort"] for effort in EFFORTS} == {"high"}
    assert binary.template_variables("none")["enable_thinking"] is False


def test_the_family_s_own_default_is_said_aloud() -> None:
    assert dialect_of("google-gemma-4-31B-it").template_variables(None) == {"enable_thinking": False}
    assert dialect_of("Qwen-QwQ-32B").template_variables(None)["enable_thinking"] is True


@pytest.mark.parametrize("thinks", [True, False])
def test_a_template_of_no_known_family_still_works(thinks: bool) -> None:
    source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[bot]" + ("<think>" if thinks else "")
    dialect = detect(source)
    assert dialect.name == "generic"
    assert dialect.opening("[bot]<think>" if thinks else "[bot]") is (Opening.REASONING if thinks else Opening.ANSWER)


def test_reasoning_is_closed_by_what_the_parser_takes_for_its_end() -> None:
    for template in FAMILIES:
        dialect = dialect_of(template)
        tail = "<|start|>assistant" if dialect.name == "harmony" else ""
        parser = dialect.parser(tail)
        think = getattr(dialect, "think", ("<|channel|>analysis<|message|>", ""))[0]
        parser.feed(f"{think}Hm")
        assert parser.reasoning, template
        parser.feed(dialect.reasoning_end)
        assert not parser.reasoning, template


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ("LFM2-8B-A1B", '<|tool_call_start|>[f( a ="x", a=7e688,   a="y")]<|tool_call_end|>'),
        ("google-gemma-4-31B-it", '<|tool_call>call:f{ a :<|"|>x<|"|>,a:7e688,  a:"y"}<tool_call|>'),
    ],
)
def test_the_white_space_of_a_name_is_its_own_and_numbers_stay_json(template: str, output: str) -> None:
    names = {" a ": {"type": "string"}, "a": {"type": "number"}, "  a": {"type": "string"}}
    tools = Toolbox([FunctionTool(name="f", parameters={"type": "object", "properties": names})])
    for size in (1, len(output)):
        parser = dialect_of(template).parser("", tools, sure=True)
        pieces = [piece for at in range(0, len(output), size) for piece in parser.feed(output[at : at + size])]
        said = "".join(piece.text for piece in (*pieces, *parser.finish()) if piece.kind == "arguments")
        assert said == '{" a ": "x", "a": 7e688, "  a": "y"}'
