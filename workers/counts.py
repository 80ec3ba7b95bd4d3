"""The tokens of one response, as its usage tells them."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.schema.response import InputTokensDetails, OutputTokensDetails, Usage


@dataclass(slots=True)
class Counts:
    """Tokens of one response, over all its generations.

    `grain`: cached tokens are told in whole multiples of it. The cache serves all tenants, and an exact number would
    let one guess another's prompt token by token.
    """

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    summaries: int = 0  # of the output, what was written to compact the conversation
    grain: int = field(default=1, kw_only=True)

    @property
    def answered(self) -> int:
        """Output that `max_output_tokens` limits."""
        return self.output - self.summaries

    def to_list(self) -> list[int]:
        """In the order of the fields, so that `Counts(*...)` makes it again (but for `grain`)."""
        return [self.input, self.cached, self.output, self.reasoning, self.summaries]

    def usage(self) -> Usage:
        cached = self.cached // self.grain * self.grain
        return Usage(
            input_tokens=self.input,
            input_tokens_details=InputTokensDetails(cached_tokens=cached, cache_write_tokens=self.input - cached),
            output_tokens=self.output,
            output_tokens_details=OutputTokensDetails(reasoning_tokens=self.reasoning),
            total_tokens=self.input + self.output,
        )
