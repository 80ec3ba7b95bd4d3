"""The tools, the choice among them, and the output format of a request: read, checked, or refused with the place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import msgspec
import structlog

from api.errors import ApiError, shown
from api.limits import MAX_TOOLS
from api.remote import MAX_SERVERS, RemoteServers
from api.validation import reading, refuse
from shared.grammar import check_grammar, check_parameters, check_schema, check_size
from shared.mcp_server import Server
from shared.schema.request import CreateResponse, JsonSchemaFormat, TextFormat
from shared.schema.tools import (
    AllowedTools,
    CustomChoice,
    CustomTool,
    FunctionChoice,
    FunctionTool,
    GrammarFormat,
    McpChoice,
    McpTool,
    NamespaceTool,
    Tool,
    ToolChoice,
)
from shared.trials import Trials
from shared.unsupported import Unsupported

log = structlog.get_logger()

MAX_TOOLS_BYTES = 1024 * 1024  # of all together: each is compiled to see whether it can be kept
HOSTED = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "programmatic_tool_calling",
        "shell",
        "tool_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    }
)
"""Tools that OpenAI runs itself; none of them can exist here."""


class _Typed(msgspec.Struct):
    type: str


_typed = msgspec.json.Decoder(_Typed)
_tool = msgspec.json.Decoder(Tool)


class Offered(NamedTuple):
    """The tools of a request, and by their place the remote servers among them with their secrets."""

    tools: list[Tool]
    servers: dict[str, Server]


class Wanted(NamedTuple):
    """A tool as `tool_choice` names it: a server by its label."""

    kind: str
    name: str

    @property
    def key(self) -> str:
        return "server_label" if self.kind == "mcp" else "name"


def read_tools(request: CreateResponse, remote: RemoteServers, *, refuse_hosted: bool) -> Offered:
    """The tools of a request. Hosted ones are left out with a note in the log, or refused. Raises ApiError."""
    raw = request.tools or []
    if len(raw) > MAX_TOOLS:
        message = f"There are {len(raw)} tools, {MAX_TOOLS} are allowed."
        raise ApiError(400, message, param="tools", code="array_above_max_length")
    if (size := sum(map(len, map(bytes, raw)))) > MAX_TOOLS_BYTES:
        message = f"The tools have {size} bytes, {MAX_TOOLS_BYTES} are allowed."
        raise ApiError(400, message, param="tools", code="invalid_value")
    tools: list[Tool] = []
    servers: dict[str, Server] = {}
    for position, one in enumerate(raw):
        where = f"tools[{position}]"
        read = _read(one, where, remote, refuse_hosted)
        if isinstance(read, tuple):
            remote_tool, servers[where] = read
            tools.append(remote_tool)
        elif read:
            tools.append(read)
    _check_servers(servers)
    return Offered(tools, servers)


def check_tools(tools: list[Tool], trials: Trials) -> None:
    """Raises ApiError where a tool cannot be offered or called as it asks for; OutOfTime as `trials` do."""
    seen: set[tuple[str | None, str]] = set()
    for where, namespace, tool in _callable(tools):
        if (namespace, tool.name) in seen:
            message = f"{where}: there is another tool called '{tool.name}'."
            raise ApiError(400, message, param=f"{where}.name", code="invalid_value")
        seen.add((namespace, tool.name))
        _check(tool, where, trials)


def read_choice(request: CreateResponse, tools: list[Tool]) -> ToolChoice:
    """How the model may choose. Raises ApiError where it names a tool that is not offered."""
    if request.tool_choice is None:
        return "auto"
    try:
        choice: ToolChoice = _convert_choice(request.tool_choice)
    except msgspec.ValidationError as error:
        refuse(error, "tool_choice")
    offered: set[Wanted] = {Wanted(_kind(tool), tool.name) for _, _, tool in _callable(tools)}
    offered |= {Wanted("mcp", tool.server_label) for tool in tools if isinstance(tool, McpTool)}
    wanted: list[tuple[str, Wanted]] = []
    if isinstance(choice, FunctionChoice | CustomChoice):
        wanted = [("tool_choice", Wanted("function" if isinstance(choice, FunctionChoice) else "custom", choice.name))]
    elif isinstance(choice, McpChoice):
        _check_remote_name(choice.name, "tool_choice")
        wanted = [("tool_choice", Wanted("mcp", choice.server_label))]
    elif isinstance(choice, AllowedTools):
        wanted = [
            (f"tool_choice.tools[{n}]", _wanted(tool, f"tool_choice.tools[{n}]"))
            for n, tool in enumerate(choice.tools)
            if str(tool.get("type")) not in HOSTED
        ]
    for where, one in wanted:
        if one not in offered:
            _refuse_choice(where, one, offered)
    if isinstance(choice, AllowedTools) and choice.mode == "required":
        offered &= {one for _, one in wanted}
    if not offered and (choice == "required" or (isinstance(choice, AllowedTools) and choice.mode == "required")):
        message = "`tool_choice` requires a call, but there is no tool that may be called."
        raise ApiError(400, message, param="tool_choice", code="invalid_value")
    return choice


def read_format(request: CreateResponse, trials: Trials) -> TextFormat | None:
    """The output format. Raises ApiError where no output can be held to its schema; OutOfTime as `trials` do."""
    chosen = request.text.format if request.text else None
    if isinstance(chosen, JsonSchemaFormat):
        try:
            if chosen.strict is False:
                check_size(chosen.schema)
            else:
                check_schema(chosen.schema, trials)
        except Unsupported as error:
            where = "text.format.schema" + (f".{error.path}" if error.path else "")
            raise ApiError(400, f"{where}: {error}", param=where, code="invalid_json_schema") from None
    return chosen


def _read(
    raw: msgspec.Raw, where: str, remote: RemoteServers, refuse_hosted: bool
) -> Tool | tuple[McpTool, Server] | None:
    with reading(raw, where):
        kind = _typed.decode(raw).type
        if kind in ("function", "custom", "namespace"):
            tool: Tool = _tool.decode(raw)
            return tool
        if kind == "mcp":
            return remote.read(raw, where)
    if kind not in HOSTED:
        message = f"{where}.type is '{shown(kind)}', expected 'function', 'custom', 'namespace' or 'mcp'."
        raise ApiError(400, message, param=f"{where}.type", code="invalid_value")
    if refuse_hosted:
        message = f"{where}: '{kind}' is a tool that OpenAI hosts; it does not exist here."
        raise ApiError(400, message, param=where, code="unsupported_tool")
    log.info("hosted_tool_ignored", type=kind)
    return None


def _callable(tools: list[Tool]) -> Iterator[tuple[str, str | None, FunctionTool | CustomTool]]:
    """Every tool that can be called, with its place and its namespace."""
    for position, tool in enumerate(tools):
        if isinstance(tool, McpTool):
            continue  # only its server knows what it offers
        if not isinstance(tool, NamespaceTool):
            yield f"tools[{position}]", None, tool
            continue
        for number, inner in enumerate(tool.tools):
            yield f"tools[{position}].tools[{number}]", tool.name, inner


def _check_servers(servers: dict[str, Server]) -> None:
    """A label means one server, and there are not too many."""
    if len(servers) > MAX_SERVERS:
        message = f"There are {len(servers)} MCP servers, {MAX_SERVERS} are allowed."
        raise ApiError(400, message, param="tools", code="array_above_max_length")
    labels: set[str] = set()
    for where, server in servers.items():
        if server.label in labels:
            message = f"{where}: there is another MCP server with the label '{server.label}'."
            raise ApiError(400, message, param=f"{where}.server_label", code="invalid_value")
        labels.add(server.label)


def _check(tool: FunctionTool | CustomTool, where: str, trials: Trials) -> None:
    try:
        if isinstance(tool, CustomTool):
            if isinstance(tool.format, GrammarFormat):
                check_grammar(tool.format.definition, tool.format.syntax, trials)
        elif tool.parameters:
            check_parameters(tool.parameters, strict=tool.strict is not False, trials=trials)
    except Unsupported as error:
        place = f"{where}.format.definition" if isinstance(tool, CustomTool) else f"{where}.parameters"
        place += f".{error.path}" if error.path else ""
        raise ApiError(400, f"{place}: {error}", param=place, code="invalid_function_parameters") from None


def _kind(tool: FunctionTool | CustomTool) -> str:
    return "custom" if isinstance(tool, CustomTool) else "function"


def _wanted(tool: dict[str, Any], where: str) -> Wanted:
    """One of the tools that are allowed. Raises ApiError."""
    kind = tool.get("type")
    if kind not in ("function", "custom", "mcp"):
        message = f"{where}.type is '{shown(str(kind))}', expected 'function', 'custom' or 'mcp'."
        raise ApiError(400, message, param=f"{where}.type", code="invalid_value")
    if kind == "mcp":
        _check_remote_name(tool.get("name"), where)
    return Wanted(kind, str(tool.get("server_label" if kind == "mcp" else "name")))


def _check_remote_name(name: object, where: str) -> None:
    """Which tools a server has is not known yet. Raises ApiError for what is no name of any."""
    if name is not None and (not isinstance(name, str) or not name):
        message = f"{where}.name must be the name of a tool; without it, all tools of the server are meant."
        raise ApiError(400, message, param=f"{where}.name", code="invalid_value")


def _refuse_choice(where: str, wanted: Wanted, offered: set[Wanted]) -> NoReturn:
    others = [one.kind for one in offered if one.name == wanted.name and "mcp" not in (one.kind, wanted.kind)]
    if others:
        message = f"{where}.type is '{wanted.kind}', but '{shown(wanted.name)}' is a {others[0]} tool."
        raise ApiError(400, message, param=f"{where}.type", code="invalid_value")
    message = f"{where}.{wanted.key} is '{shown(wanted.name)}', which is none of the tools of this request."
    raise ApiError(400, message, param=f"{where}.{wanted.key}", code="invalid_value")


def _convert_choice(value: Any) -> ToolChoice:
    if isinstance(value, str):
        if value not in ("auto", "none", "required"):
            raise msgspec.ValidationError(f"Invalid enum value '{value}'")
        return value  # type: ignore[return-value]
    choice: FunctionChoice | CustomChoice | McpChoice | AllowedTools = msgspec.convert(
        value, FunctionChoice | CustomChoice | McpChoice | AllowedTools
    )
    return choice
