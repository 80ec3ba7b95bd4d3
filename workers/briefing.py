"""What the model is given to read for one response: its conversation, compacted or truncated where asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from shared.emitter import Emitter
from shared.redis.records import Context
from shared.schema.items import Compaction
from shared.sealing import COMPACTION, Sealer
from shared.turns import split_before_last_question
from workers.conversation import (
    AnyItem,
    conversation,
    request_for_summary,
    room_for_prompt,
    summary_message,
    with_requests,
    write,
)
from workers.dialects.toolbox import Toolbox
from workers.prompt import Prompt, Prompter

SUMMARY_TOKENS = 1024  # a compaction has at most

Summarise = Callable[[Prompt], Awaitable[str]]
"""The model's answer to a prompt, as one text."""


class ConversationGone(Exception):
    """The conversation was deleted before the response could read it."""


class Briefing:
    """Writes the prompt of one response. A compaction that it makes on the way goes out as an item of the response."""

    def __init__(
        self, prompter: Prompter, context_length: int, context: Context, tools: Toolbox | None, sealer: Sealer | None
    ) -> None:
        """`tools`: those that the prompt offers."""
        self._prompter = prompter
        self._context_length = context_length
        self._context = context
        self._tools = tools
        self._sealer = sealer

    async def write(
        self,
        emitter: Emitter,
        tell: Callable[[], None],
        tell_compaction: Callable[[], None],
        summarise: Summarise,
        said: Sequence[AnyItem] = (),
    ) -> Prompt:
        """The prompt, with what the response has `said` so far behind the conversation. `tell` is called when the
        emitter has something to tell, `tell_compaction` when that is a compaction: its summary is not made again.
        Raises TemplateError, PictureRefused, ConversationGone.
        """
        if self._context.conversation_gone:
            raise ConversationGone
        context, generation = self._context, self._context.generation
        items: Sequence[AnyItem] = conversation(context.ancestors, context.input, self._sealer, context.owner)
        compactions = [item for item in context.response.output if isinstance(item, Compaction)]
        if compactions:  # a lost worker made it
            items = self._after(compactions[-1], items)
        items = [*items, *(item for item in said if not isinstance(item, Compaction))]
        prompt = await self._prompt(items)
        threshold = None if compactions else generation.compact_threshold
        if threshold is not None and len(prompt.tokens) > threshold:
            items = await self._compact(items, emitter, tell, tell_compaction, summarise)
            prompt = await self._prompt(items)
        if not generation.truncate:
            return prompt
        return await self._prompt(items, room_for_prompt(self._context_length, context.response.max_output_tokens))

    async def _prompt(self, items: Sequence[AnyItem], room: int | None = None) -> Prompt:
        instructions, effort = self._context.response.instructions, self._context.generation.effort
        return await write(self._prompter, instructions, items, effort, self._tools, room=room)

    async def _compact(
        self,
        items: Sequence[AnyItem],
        emitter: Emitter,
        tell: Callable[[], None],
        tell_compaction: Callable[[], None],
        summarise: Summarise,
    ) -> Sequence[AnyItem]:
        """Has the model summarise all but the last question."""
        earlier, question = split_before_last_question(items)
        if not earlier or self._sealer is None:
            return items
        emitter.compacting()
        tell()
        prompt = await write(
            self._prompter,
            self._context.response.instructions,
            [*earlier, request_for_summary()],
            "none",
            room=room_for_prompt(self._context_length, SUMMARY_TOKENS),
        )
        summary = await summarise(prompt)
        emitter.compaction(self._sealer.seal(summary, owner=self._context.owner, purpose=COMPACTION))
        tell_compaction()
        return with_requests([summary_message(summary), *question], items)

    def _after(self, compaction: Compaction, items: Sequence[AnyItem]) -> Sequence[AnyItem]:
        assert self._sealer
        sealed, owner = compaction.encrypted_content, self._context.owner
        summary = self._sealer.open(sealed, owner=owner, purpose=COMPACTION)
        _, question = split_before_last_question(items)
        return with_requests([summary_message(summary), *question], items)
