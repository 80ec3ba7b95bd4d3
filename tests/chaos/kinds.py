"""The kinds of faults, and what each may do to a response."""

from __future__ import annotations

PROCESS_FAULTS = ("worker kill -9", "worker SIGTERM", "worker SIGSTOP", "web kill -9", "web SIGTERM")
REDIS_FAULTS = ("redis restart", "redis kill -9")
NETWORK_FAULTS = ("cut", "half-open", "delay")  # of one process' way to Redis
TOOL_FAULTS = ("tools half-open",)  # the workers' way to the MCP server

LOSSES = ("worker kill -9", "worker SIGSTOP", *REDIS_FAULTS, "worker cut", "worker half-open", "worker delay")
"""After these a job may have been taken from its worker, which counts as a try."""
HANDOVERS = (*LOSSES, "worker SIGTERM")
"""After these a remote call may have been left in the middle."""
PAUSES = ("worker SIGSTOP",)
"""After these a worker may do late what it was about to do."""
ABSENCES = (*REDIS_FAULTS, "web cut", "web half-open", "web delay")
"""After these a front end may have been unheard for so long that its unstored responses were ended."""
