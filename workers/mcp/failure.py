"""What a list or a call ends with when it fails."""

from __future__ import annotations

from shared.schema.mcp import HttpError, McpCallError, McpProtocolError, McpToolExecutionError


class ServerFailed(Exception):
    """A server could not list or call. `error` is what the item says; the text is for the model and for people."""

    def __init__(self, error: McpCallError) -> None:
        self.error = error
        super().__init__(describe(error))


class SessionLost(Exception):
    """The server did not see the call: it can be made again over a new connection."""

    def __init__(self, failure: ServerFailed) -> None:
        self.failure = failure
        super().__init__(str(failure))


def describe(error: McpCallError) -> str:
    """An error in one text."""
    match error:
        case McpToolExecutionError():
            return "\n\n".join(part["text"] for part in error.content) or "The tool failed and does not say why."
        case McpProtocolError() | HttpError():
            return error.message


def http_failure(code: int, message: str) -> ServerFailed:
    return ServerFailed(HttpError(code=code, message=message))


def protocol_failure(code: int, message: str) -> ServerFailed:
    """`message` may be a server's own, which may be empty."""
    return ServerFailed(McpProtocolError(code=code, message=message.strip() or _SILENT.format(code=code)))


_SILENT = "The server refused this with the code {code} and does not say why."
