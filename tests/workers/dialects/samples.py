"""Outputs of real models' forms, family by family, and the items they mean.

Written after the model cards and templates; `said` is what a parser has to make of `output`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from shared.schema.tools import CustomTool, FunctionTool, NamespaceTool
from workers.dialects import detect
from workers.dialects.base import Dialect, Piece
from workers.dialects.toolbox import Toolbox

TEMPLATES = Path(__file__).parent / "templates"

WEATHER = FunctionTool(
    name="get_weather",
    description="The weather in a city.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "A city."},
            "days": {"type": "integer", "description": "How many days."},
            "units": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "Units."},
            "tags": {"type": "array", "items": {"type": "string"}, "description": "Tags."},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
)
NOW = FunctionTool(name="now", description="The time.", parameters={"type": "object", "properties": {}})
PATCH = CustomTool(name="apply_patch", description="Applies a patch.")
ISSUES = NamespaceTool(
    name="github",
    tools=[FunctionTool(name="search", description="Searches.", parameters={"type": "object", "properties": {}})],
)
TOOLS = Toolbox([WEATHER, NOW, PATCH, ISSUES])


def text(words: str) -> tuple[str, str]:
    return ("text", words)


def thought(words: str) -> tuple[str, str]:
    return ("reasoning", words)


def preamble(words: str) -> tuple[str, str]:
    return ("commentary", words)


def call(name: str, arguments: str) -> tuple[str, str, str]:
    return ("call", name, arguments)


@dataclass(frozen=True)
class Sample:
    family: str
    what: str
    template: str
    tail: str  # the end of the prompt
    output: str
    said: tuple[tuple[str, ...], ...]

    @property
    def dialect(self) -> Dialect:
        return dialect_of(self.template)


@cache
def dialect_of(template: str) -> Dialect:
    return detect((TEMPLATES / f"{template}.jinja").read_text())


def items(pieces: list[Piece]) -> tuple[tuple[str, ...], ...]:
    """Pieces added up: what was said, however it was cut. A call without its end is `cut`."""
    result: list[list[str]] = []
    for piece in pieces:
        if piece.kind == "call":
            result.append(["cut", piece.text, ""])
        elif piece.kind == "arguments":
            assert result[-1][0] == "cut", pieces
            result[-1][2] += piece.text
        elif piece.kind == "call_end":
            assert result[-1][0] == "cut", pieces
            result[-1][0] = "call"
        else:
            kind = piece.phase or piece.kind
            if result and result[-1][0] == kind:
                result[-1][1] += piece.text
            else:
                result.append([kind, piece.text])
    return tuple(map(tuple, result))


OSLO, ROME = '{"city": "Oslo", "days": 2}', '{"city": "Rome"}'
ODD = '{"city": "Þórs\\"höfn\\\\ \\n<b>", "tags": ["a{b}", "c]"]}'
PATCH_TEXT = '*** Begin Patch\n+ "x" \\ ü 😀\n*** End Patch'
PATCH_JSON = '{"input": "*** Begin Patch\\n+ \\"x\\" \\\\ ü \\ud83d\\ude00\\n*** End Patch"}'

SAMPLES: list[Sample] = []


def family(name: str, template: str, tail: str, **samples: tuple[str, tuple[tuple[str, ...], ...]]) -> None:
    for what, (output, said) in samples.items():
        SAMPLES.append(Sample(name, what, template, tail, output, said))


def json_family(name: str, template: str, tail: str, one: str, section: str = "{}", between: str = "") -> None:
    """The cases of a family that writes arguments as JSON. `one`: a call, with NAME and {JSON} in it."""

    def calls(*pairs: tuple[str, str]) -> str:
        return section.replace("{}", between.join(one.replace("NAME", n).replace("{JSON}", a) for n, a in pairs))

    family(
        name,
        template,
        tail,
        plain=("Hello,\n\nthere.", (text("Hello,\n\nthere."),)),
        one_call=(calls(("get_weather", OSLO)), (call("get_weather", OSLO),)),
        two_calls=(
            calls(("get_weather", OSLO), ("now", "{}")),
            (call("get_weather", OSLO), call("now", "{}")),
        ),
        call_after_preamble=(
            "Let me look.\n\n" + calls(("get_weather", ROME)),
            (text("Let me look."), call("get_weather", ROME)),
        ),
        text_after_call=(calls(("now", "{}")) + "\nDone.", (call("now", "{}"), text("Done."))),
        odd_characters=(calls(("get_weather", ODD)), (call("get_weather", ODD),)),
        custom=(calls(("apply_patch", PATCH_JSON)), (call("apply_patch", PATCH_TEXT),)),
        namespaced=(calls(("github__search", "{}")), (call("github__search", "{}"),)),
        unknown_tool=(calls(("rm", "{}")), (text(calls(("rm", "{}"))),)),
        broken_json=(
            calls(("now", '{"a": tru}')) + " and on",
            (text(calls(("now", '{"a": tru}')) + " and on"),),
        ),
    )


HERMES_CALL = '<tool_call>\n{"name": "NAME", "arguments": {JSON}}\n</tool_call>'
for model in ("Qwen-Qwen2.5-7B-Instruct", "ibm-granite-granite-4.0", "NousResearch-Hermes-3-Llama-3.1-8B-tool_use"):
    json_family(f"hermes {model}", model, "<|im_start|>assistant\n", HERMES_CALL, between="\n")
json_family("qwen3", "Qwen-Qwen3-0.6B", "<|im_start|>assistant\n", HERMES_CALL, between="\n")
json_family("smollm3", "HuggingFaceTB-SmolLM3-3B", "<|im_start|>assistant\n", HERMES_CALL, between="\n")
json_family("gemma2", "google-gemma-2-2b-it", "<start_of_turn>model\n", HERMES_CALL, between="\n")
json_family("phi", "microsoft-Phi-3.5-mini-instruct", "<|assistant|>\n", HERMES_CALL, between="\n")
json_family(
    "llama3", "meta-llama-Llama-3.1-8B-Instruct", "\n\n", '{"name": "NAME", "parameters": {JSON}}', between="; "
)
json_family(
    "mistral-nemo", "mistralai-Mistral-Nemo-Instruct-2407", "[/INST]",
    '{"name": "NAME", "arguments": {JSON}, "id": "123456789"}', "[TOOL_CALLS][{}]", ", ",
)  # fmt: skip
json_family(
    "mistral-small", "Mistral-Small-3.2-24B-Instruct-2506", "[/INST]", "[TOOL_CALLS]NAME[CALL_ID]a1B2c3D4e[ARGS]{JSON}"
)
json_family("devstral", "unsloth-mistral-Devstral-Small-2507", "[/INST]", "[TOOL_CALLS]NAME[ARGS]{JSON}")
json_family("ministral", "mistralai-Ministral-3-14B-Reasoning-2512", "[/INST]", "[TOOL_CALLS]NAME[ARGS]{JSON}")
json_family(
    "deepseek-r1", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "<think>\n</think>\n",
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n{JSON}\n```<｜tool▁call▁end｜>",
    "<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>", "\n",
)  # fmt: skip
json_family(
    "deepseek-v3.1", "deepseek-ai-DeepSeek-V3.1", "<think></think>",
    "<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{JSON}<｜tool▁call▁end｜>", "<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>",
)  # fmt: skip
json_family(
    "kimi-k2", "Kimi-K2-Instruct", "<|im_middle|>",
    "<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{JSON}<|tool_call_end|>",
    "<|tool_calls_section_begin|>{}<|tool_calls_section_end|>",
)  # fmt: skip
json_family(
    "granite-3", "ibm-granite-granite-3.3-2B-Instruct", "<|end_of_role|>",
    '{"name": "NAME", "arguments": {JSON}}', "<|tool_call|>[{}]", ", ",
)  # fmt: skip
json_family(
    "command-r", "CohereForAI-c4ai-command-r7b-12-2024-tool_use", "<|START_THINKING|><|END_THINKING|>",
    '    {"tool_call_id": "0", "tool_name": "NAME", "parameters": {JSON}}', "<|START_ACTION|>[\n{}\n]<|END_ACTION|>",
    ",\n",
)  # fmt: skip

XML_ODD = '{"city": "Þórs\\"höfn\\\\ \\n<b>"}'
XML_ODD_RAW = 'Þórs"höfn\\ \n<b>'


def xml_family(
    name: str, template: str, tail: str, begin: str, parameter: str, end: str, between: str = "", section: str = "{}"
) -> None:
    """The cases of a family with bare strings. `begin` has NAME in it, `parameter` KEY and VALUE."""

    def one(tool: str, **values: str) -> str:
        parameters = "".join(parameter.replace("KEY", k).replace("VALUE", v) for k, v in values.items())
        return begin.replace("NAME", tool) + parameters + end

    def calls(*ones: str) -> str:
        return section.replace("{}", between.join(ones))

    oslo = one("get_weather", city="Oslo", days="2")
    family(
        name,
        template,
        tail,
        plain=("Hello,\n\nthere.", (text("Hello,\n\nthere."),)),
        one_call=(calls(oslo), (call("get_weather", OSLO),)),
        two_calls=(calls(oslo, one("now")), (call("get_weather", OSLO), call("now", "{}"))),
        call_after_preamble=("Let me look.\n" + calls(oslo), (text("Let me look."), call("get_weather", OSLO))),
        text_after_call=(calls(one("now")) + "\n\nDone.", (call("now", "{}"), text("Done."))),
        odd_characters=(calls(one("get_weather", city=XML_ODD_RAW)), (call("get_weather", XML_ODD),)),
        empty_null_and_list=(
            calls(one("get_weather", city="", units="null", tags='["a", "b"]')),
            (call("get_weather", '{"city": "", "units": null, "tags": ["a", "b"]}'),),
        ),
        a_number_for_a_string=(calls(one("get_weather", city="12")), (call("get_weather", '{"city": "12"}'),)),
        custom=(calls(one("apply_patch", input=PATCH_TEXT)), (call("apply_patch", PATCH_TEXT),)),
        namespaced=(calls(one("github__search")), (call("github__search", "{}"),)),
        unknown_tool=(calls(one("rm")), (text(calls(one("rm"))),)),
    )


for model in ("Qwen3-Coder", "Qwen3.5-4B", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"):
    xml_family(
        f"qwen-xml {model}", model, "<think>\n\n</think>\n\n", "<tool_call>\n<function=NAME>\n",
        "<parameter=KEY>\nVALUE\n</parameter>\n", "</function>\n</tool_call>", "\n",
    )  # fmt: skip
xml_family(
    "seed-oss", "ByteDance-Seed-OSS", "assistant\n", "<seed:tool_call>\n<function=NAME>\n",
    "<parameter=KEY>VALUE</parameter>\n", "</function>\n</seed:tool_call>", "\n",
)  # fmt: skip
xml_family(
    "glm-4.6", "GLM-4.6", "<|assistant|>\n<think></think>", "<tool_call>NAME\n",
    "<arg_key>KEY</arg_key>\n<arg_value>VALUE</arg_value>\n", "</tool_call>", "\n",
)  # fmt: skip
xml_family(
    "glm-4.7", "GLM-4.7-Flash", "<|assistant|></think>", "<tool_call>NAME",
    "<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>", "</tool_call>",
)  # fmt: skip
xml_family(
    "minimax", "MiniMax-M2", "<think>\n\n</think>\n\n", '<invoke name="NAME">\n',
    '<parameter name="KEY">VALUE</parameter>\n', "</invoke>\n", section="<minimax:tool_call>\n{}</minimax:tool_call>",
)  # fmt: skip

DSML_CALLS = "<｜DSML｜function_calls>\n{}</｜DSML｜function_calls>"
DSML_OSLO = (
    '<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="city" string="true">Oslo</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="days" string="false">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
)
DSML_NOW = '<｜DSML｜invoke name="now">\n</｜DSML｜invoke>\n'
DSML_PATCH = (
    '<｜DSML｜invoke name="apply_patch">\n<｜DSML｜parameter name="input" string="true">'
    f"{PATCH_TEXT}</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
)
family(
    "deepseek-v3.2",
    "deepseek-ai-DeepSeek-V3.2",
    "<think>",
    reasoning=("I think.</think>Hi.", (thought("I think."), text("Hi."))),
    one_call=("</think>\n\n" + DSML_CALLS.replace("{}", DSML_OSLO), (call("get_weather", OSLO),)),
    two_calls=(
        "Hm.</think>Look:\n\n" + DSML_CALLS.replace("{}", DSML_OSLO + DSML_NOW),
        (thought("Hm."), text("Look:"), call("get_weather", OSLO), call("now", "{}")),
    ),
    call_ends_reasoning=("Hm.\n\n" + DSML_CALLS.replace("{}", DSML_NOW), (thought("Hm."), call("now", "{}"))),
    custom=("</think>" + DSML_CALLS.replace("{}", DSML_PATCH), (call("apply_patch", PATCH_TEXT),)),
    unknown_tool=("</think>" + DSML_CALLS.replace("{}", DSML_NOW.replace("now", "rm")),
                  (text(DSML_CALLS.replace("{}", DSML_NOW.replace("now", "rm"))),)),
)  # fmt: skip

THINKING = {
    "Qwen-Qwen3-0.6B": ("<|im_start|>assistant\n", "<think>\n{}\n</think>\n\n"),
    "Qwen-QwQ-32B": ("<|im_start|>assistant\n<think>\n", "{}\n</think>\n\n"),
    "Qwen3.5-4B": ("<|im_start|>assistant\n<think>\n", "{}\n</think>\n\n"),
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": ("<|im_start|>assistant\n<think>\n", "{}\n</think>\n"),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": ("<｜Assistant｜><think>\n", "{}\n</think>\n\n"),
    "deepseek-ai-DeepSeek-V3.1": ("<｜Assistant｜><think>", "{}</think>"),
    "GLM-4.6": ("<|assistant|>", "\n<think>{}</think>\n"),
    "GLM-4.7-Flash": ("<|assistant|><think>", "{}</think>"),
    "Kimi-K2-Thinking": ("<|im_middle|>", "<think>{}</think>"),
    "MiniMax-M2": ("]~b]ai\n<think>\n", "{}\n</think>\n\n"),
    "HuggingFaceTB-SmolLM3-3B": ("<|im_start|>assistant\n", "<think>\n{}\n</think>\n"),
    "ByteDance-Seed-OSS": ("<seed:bos>assistant\n", "<seed:think>{}</seed:think>"),
    "mistralai-Ministral-3-14B-Reasoning-2512": ("[/INST]", "[THINK]{}[/THINK]"),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": ("<|CHATBOT_TOKEN|>", "<|START_THINKING|>{}<|END_THINKING|>"),
    "ibm-granite-granite-3.3-2B-Instruct": ("<|end_of_role|>", "<think>{}</think>\n\n"),
    "google-gemma-4-31B-it": ("<|turn>model\n", "<|channel>thought\n{}\n<channel|>"),
    "LFM2-8B-A1B": ("<|im_start|>assistant\n", "<think>{}</think>"),
}
for template, (tail, form) in THINKING.items():
    family(
        f"thinking {template}",
        template,
        tail,
        reasoning=(
            form.replace("{}", "First < this,\n\nthen </ that.") + "The answer.",
            (thought("First < this,\n\nthen </ that."), text("The answer.")),
        ),
        reasoning_only=(form.replace("{}", "Hm.").split("\n</")[0].split("</")[0], ()),
    )
    SAMPLES.pop()  # a cut is tested for every sample, at every byte

family(
    "granite-3 response",
    "ibm-granite-granite-3.3-2B-Instruct",
    "<|end_of_role|>",
    wrapped=(
        "<think>Hm.</think>\n<response>Hello.\nYou.</response>",
        (thought("Hm."), text("Hello.\nYou.")),
    ),
)
family(
    "command-r response",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
    "<|START_THINKING|><|END_THINKING|>",
    wrapped=("<|START_RESPONSE|>Hello.<|END_RESPONSE|>", (text("Hello."),)),
)

GEMMA4_OSLO = '<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>,days:2}<tool_call|>'
family(
    "gemma-4",
    "google-gemma-4-31B-it",
    "<|channel>thought\n<channel|>",
    plain=("Hello.", (text("Hello."),)),
    one_call=(GEMMA4_OSLO, (call("get_weather", OSLO),)),
    two_calls=(
        GEMMA4_OSLO + "<|tool_call>call:now{}<tool_call|>",
        (call("get_weather", OSLO), call("now", "{}")),
    ),
    call_after_preamble=("Look.\n" + GEMMA4_OSLO, (text("Look."), call("get_weather", OSLO))),
    text_after_call=(GEMMA4_OSLO + "Done.", (call("get_weather", OSLO), text("Done."))),
    odd_characters=(
        f'<|tool_call>call:get_weather{{city:<|"|>{XML_ODD_RAW}<|"|>,tags:[<|"|>a{{b}}<|"|>,<|"|>c]<|"|>]}}<tool_call|>',
        (call("get_weather", ODD),),
    ),
    json_inside=(
        '<|tool_call>call:get_weather{"city": "Oslo", "days": 2}<tool_call|>',
        (call("get_weather", OSLO),),
    ),
    custom=(
        f'<|tool_call>call:apply_patch{{input:<|"|>{PATCH_TEXT}<|"|>}}<tool_call|>',
        (call("apply_patch", PATCH_TEXT),),
    ),
    unknown_tool=("<|tool_call>call:rm{}<tool_call|>", (text("<|tool_call>call:rm{}<tool_call|>"),)),
    broken=("<|tool_call>call:now{a:}<tool_call|>", (text("<|tool_call>call:now{a:}<tool_call|>"),)),
)  # fmt: skip

LFM2_OSLO = 'get_weather(city="Oslo", days=2)'
family(
    "lfm2",
    "LFM2-8B-A1B",
    "<|im_start|>assistant\n",
    plain=("Hello.", (text("Hello."),)),
    one_call=(f"<|tool_call_start|>[{LFM2_OSLO}]<|tool_call_end|>", (call("get_weather", OSLO),)),
    two_calls=(
        f"<|tool_call_start|>[{LFM2_OSLO}, now()]<|tool_call_end|>",
        (call("get_weather", OSLO), call("now", "{}")),
    ),
    text_after_call=(
        f"<|tool_call_start|>[{LFM2_OSLO}]<|tool_call_end|>Checking.",
        (call("get_weather", OSLO), text("Checking.")),
    ),
    call_after_preamble=(
        f"Look.\n<|tool_call_start|>[{LFM2_OSLO}]<|tool_call_end|>",
        (text("Look."), call("get_weather", OSLO)),
    ),
    odd_characters=(
        "<|tool_call_start|>[get_weather(city='Þórs\"höfn\\\\ \\n<b>', tags=['a{b}', \"c]\"])]<|tool_call_end|>",
        (call("get_weather", ODD),),
    ),
    python_literals=(
        "<|tool_call_start|>[get_weather(city='x', units=None)]<|tool_call_end|>",
        (call("get_weather", '{"city": "x", "units": null}'),),
    ),
    custom=(
        f"<|tool_call_start|>[apply_patch(input={PATCH_JSON[10:-1]})]<|tool_call_end|>",
        (call("apply_patch", PATCH_TEXT),),
    ),
    unknown_tool=("<|tool_call_start|>[rm()]<|tool_call_end|>", (text("<|tool_call_start|>[rm()]<|tool_call_end|>"),)),
    broken=("<|tool_call_start|>[now(a=])]", (text("<|tool_call_start|>[now(a=])]"),)),
)

NEXT = "<|end|><|start|>assistant"
family(
    "harmony",
    "openai-gpt-oss-120b",
    "<|start|>assistant",
    plain=("<|channel|>final<|message|>Hello,\n\nthere.", (text("Hello,\n\nthere."),)),
    reasoning=(
        f"<|channel|>analysis<|message|>Hm < that.{NEXT}<|channel|>final<|message|>Hello.<|return|>",
        (thought("Hm < that."), text("Hello.")),
    ),
    one_call=(
        f"<|channel|>analysis<|message|>Hm.{NEXT}<|channel|>commentary to=functions.get_weather "
        f"<|constrain|>json<|message|>{OSLO}<|call|>",
        (thought("Hm."), call("get_weather", OSLO)),
    ),
    recipient_first=(
        f" to=functions.get_weather<|channel|>commentary json<|message|>{OSLO}",
        (call("get_weather", OSLO),),
    ),
    recipient_after_role=(
        f"<|channel|>analysis<|message|>Hm.{NEXT} to=functions.now<|channel|>commentary <|constrain|>json"
        "<|message|>{}",
        (thought("Hm."), call("now", "{}")),
    ),
    two_calls=(
        f"<|channel|>commentary to=functions.now <|constrain|>json<|message|>{{}}<|call|><|start|>assistant"
        f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{OSLO}<|call|>",
        (call("now", "{}"), call("get_weather", OSLO)),
    ),
    call_after_preamble=(
        f"<|channel|>commentary<|message|>Let me look.{NEXT}<|channel|>commentary to=functions.now "
        "<|constrain|>json<|message|>{}<|call|>",
        (preamble("Let me look."), call("now", "{}")),
    ),
    text_after_call=(
        "<|channel|>commentary to=functions.now json<|message|>{}<|end|><|start|>assistant"
        "<|channel|>final<|message|>Done.",
        (call("now", "{}"), text("Done.")),
    ),
    odd_characters=(
        f"<|channel|>commentary to=functions.get_weather json<|message|>{ODD}<|call|>",
        (call("get_weather", ODD),),
    ),
    custom=(
        f"<|channel|>commentary to=functions.apply_patch json<|message|>{PATCH_JSON}<|call|>",
        (call("apply_patch", PATCH_TEXT),),
    ),
    unknown_tool=(
        "<|channel|>commentary to=functions.rm json<|message|>{}<|call|>",
        (preamble("<|channel|>commentary to=functions.rm json<|message|>{}"),),
    ),
    broken_json=(
        "<|channel|>commentary to=functions.now json<|message|>{oops} and on<|call|>",
        (preamble("<|channel|>commentary to=functions.now json<|message|>{oops} and on"),),
    ),
    no_markers=("Hello there.", (text("Hello there."),)),
)
