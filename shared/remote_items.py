"""Items of remote MCP servers: they wait for their server while others begin."""

from __future__ import annotations

from shared.event_writer import EventWriter
from shared.schema import events
from shared.schema.items import ItemStatus, McpApprovalRequest, McpCall, McpListTools
from shared.schema.mcp import McpCallError, McpListToolsTool
from shared.schema.response import Response


class RemoteItems(EventWriter):
    """The part of the emitter that tells of remote servers."""

    def __init__(self, response: Response, next_sequence: int, *, obfuscate: bool = False) -> None:
        super().__init__(response, next_sequence, obfuscate=obfuscate)
        self._waiting: dict[str, int] = {}  # what waits for a server, with its place in the output

    def close(self, status: ItemStatus = "completed") -> None:
        """Ends the open item, if there is one."""
        raise NotImplementedError

    @property
    def waiting(self) -> list[McpListTools | McpCall]:
        """What waits for a remote server, in the order of the output."""
        waiting = (self.response.output[position] for position in sorted(self._waiting.values()))
        return [item for item in waiting if isinstance(item, McpListTools | McpCall)]

    def take(self) -> list[bytes]:
        taken, self._pending = self._pending, []
        return taken

    def open_mcp_list(self, server_label: str, given_id: str | None = None) -> str:
        """Begins the list of a server's tools, which then waits for `mcp_listed`; returns its id."""
        self.close()
        item = McpListTools(id=given_id or self._new_id("mcpl"), server_label=server_label, tools=[])
        self._begin(item)
        self._emit(events.McpListInProgress, item_id=item.id, output_index=self._index)
        self._set_aside()
        return item.id

    def mcp_listed(self, item_id: str, tools: list[McpListToolsTool], error: str | None = None) -> None:
        """Ends the list of a server's tools; with `error` they could not be listed."""
        position = self._waiting.pop(item_id)
        item = self.response.output[position]
        assert isinstance(item, McpListTools)
        item.tools, item.error = tools, error
        kind = events.McpListCompleted if error is None else events.McpListFailed
        self._emit(kind, item_id=item_id, output_index=position)
        self._emit(events.OutputItemDone, output_index=position, item=item)

    def open_mcp_call(
        self, name: str, server_label: str, approval_request_id: str | None = None, given_id: str | None = None
    ) -> None:
        """Begins a call of a server's tool; the item before is complete. Closed, it waits for `mcp_called`."""
        self.close()
        item = McpCall(
            id=given_id or self._new_id("mcp"),
            server_label=server_label,
            name=name,
            arguments="",
            approval_request_id=approval_request_id,
            status="in_progress",
        )
        self._begin(item)
        self._emit(events.McpCallInProgress, item_id=item.id, output_index=self._index)

    def mcp_arguments(self, delta: str) -> None:
        """Adds to the call that `open_mcp_call` has opened."""
        current = self._current(McpCall)
        if delta:
            current.text.append(delta)
            self._emit_delta(events.McpArgumentsDelta, delta, item_id=current.item.id, output_index=self._index)

    def mcp_called(self, item_id: str, output: str | None = None, error: McpCallError | None = None) -> None:
        """Ends a call with what came of it: an output or an error."""
        position = self._waiting.pop(item_id)
        item = self.response.output[position]
        assert isinstance(item, McpCall)
        item.output, item.error, item.status = output, error, "completed" if error is None else "failed"
        kind = events.McpCallCompleted if error is None else events.McpCallFailed
        self._emit(kind, item_id=item_id, output_index=position)
        self._emit(events.OutputItemDone, output_index=position, item=item)

    def mcp_approval_request(self, name: str, server_label: str, arguments: str, given_id: str | None = None) -> None:
        """A whole request for approval; the item before is complete."""
        self.close()
        identifier = given_id or self._new_id("mcpr")
        self._begin(McpApprovalRequest(id=identifier, server_label=server_label, name=name, arguments=arguments))
        self.close()

    def _set_aside(self) -> None:
        """The open item waits for a remote server; others may begin."""
        assert self._open
        self._waiting[self._open.item.id] = self._index
        self.response.output.append(self._open.item)
        self._open = None

    def _abandon(self) -> None:
        """Ends what still waits for a remote server: its answer will not be heard."""
        for item in self.waiting:
            if isinstance(item, McpCall):
                item.status = "incomplete"
            else:
                item.error = "The response ended before the server had answered."
            self._emit(events.OutputItemDone, output_index=self._waiting.pop(item.id), item=item)
