"""The tokens of one response, as its usage tells them."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from shared.schema.response import InputTokensDetails, OutputTokensDetails, Usage


@dataclass(slots=True)
class Counts:
    """Tokens of one response, over all its generations."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    summaries: int = 0  # of the output, what was written to compact the conversation

    @property
    def answered(self) -> int:
        """Output that `max_output_tokens` limits."""
        return self.output - self.summaries

    def to_list(self) -> list[int]:
        """In the order of the fields, so that `Counts(*...)` makes it again."""
        return list(astuple(self))

    def usage(self) -> Usage:
        return Usage(
            input_tokens=self.input,
            input_tokens_details=InputTokensDetails(
                cached_tokens=self.cached, cache_write_tokens=self.input - self.cached
            ),
            output_tokens=self.output,
            output_tokens_details=OutputTokensDetails(reasoning_tokens=self.reasoning),
            total_tokens=self.input + self.output,
        )
