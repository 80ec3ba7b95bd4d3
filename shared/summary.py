"""The words around a summary of a conversation: the same wherever one is made or read."""

from __future__ import annotations

SUMMARY_REQUEST = (
    "Summarize the conversation so far. Keep every name, number, decision, result and open task. "
    "Write only the summary."
)
SUMMARY_INTRODUCTION = "Summary of the conversation so far:\n"
