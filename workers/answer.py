"""One generation of a response: prompt -> constraint -> engine -> reader, every chunk on its way as events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from shared.emitter import Emitter
from shared.redis import records
from shared.redis.event_log import Progress
from shared.schema.content import text_of
from shared.schema.items import Message
from shared.sealing import Sealer
from shared.settings import Settings
from workers.briefing import SUMMARY_TOKENS, Briefing
from workers.conversation import AnyItem
from workers.counts import Counts
from workers.demand import constraint_for, demand_of, tools_left
from workers.dialects.toolbox import Toolbox
from workers.engine.core import FinishReason, GenerationRequest, Sampling
from workers.engine.generation import Generation
from workers.engine.sequence import ending
from workers.grammar.constraint import OutputConstraint
from workers.grammar.grammars import Demand
from workers.models import LoadedModel
from workers.outbox import Stream
from workers.prompt import Prompt
from workers.reader import Reader
from workers.template import TemplateError
from workers.tools_unavailable import ToolsUnavailable

log = structlog.get_logger()

NOTHING = Progress([], 0)


class Answer:
    """Generates what one response says with a model, and counts its tokens."""

    def __init__(
        self,
        context: records.Context,
        emitter: Emitter,
        stream: Stream,
        counts: Counts,
        settings: Settings,
        sealer: Sealer | None,
    ) -> None:
        self._context = context
        self._response = context.response
        self._emitter = emitter
        self._stream = stream
        self._counts = counts
        self._settings = settings
        self._sealer = sealer

    async def generate(
        self,
        model: LoadedModel,
        tools: Toolbox,
        said: Sequence[AnyItem] = (),
        done: Progress = NOTHING,
    ) -> FinishReason:
        """Goes on behind what was `said` in this response before; returns how it ended.

        `done` is what a lost worker had generated of this generation already. Raises ConversationGone, EngineFailed,
        GrammarError, PictureRefused, PromptTooLong, TemplateError, ToolsUnavailable.
        """
        tools, most_calls = tools_left(self._response, said, tools, self._settings)
        asked = await demand_of(self._response, said, tools, most_calls)
        try:
            prompt = await self._write_prompt(model, tools if asked.tools else None, said)
        except TemplateError as error:
            return await self.generate(model, await self._without_refused(model, tools, asked, error), said, done)
        if self._settings.log_content:
            log.debug("prompt", response_id=self._response.id, text=prompt.text)
        generation, tokens = self._context.generation, done.tokens
        constraint = await constraint_for(model, asked, generation, self._settings, prompt, tokens)
        parser = model.prompter.dialect.parser(prompt.text, asked.tools or None, sure=asked.needs_grammar)
        reader = Reader(model.engine, parser, self._emitter, self._counts, tools)
        before = self._counts.answered
        reader.replay(tokens)
        request = self._request(model, prompt, constraint, tokens, before)
        if tokens and (last := ending(request, model.engine.model)):  # it was lost behind its last token
            self._counts.input += len(prompt.tokens)
            self._counts.cached = done.cached
            reader.read(last)
            reader.finish()
            return last.finish or "length"
        if request.max_tokens is not None and request.max_tokens <= 0 and not generation.prewarm:
            return "length"
        generating = model.engine.generate(request)
        self._counts.input += len(prompt.tokens)
        return await self._read_all(generating, reader, done)

    async def _without_refused(
        self, model: LoadedModel, tools: Toolbox, asked: Demand, error: TemplateError
    ) -> Toolbox:
        """The tools without those of remote servers that are why the template refuses the conversation.

        Raises `error` where that is not for such tools, ToolsUnavailable where a call is demanded and none is left.
        """
        kept = await model.prompter.showable(tools) if asked.tools else tools
        if len(kept) == len(tools):
            raise error
        left_out = [tool.name for tool in tools if kept.get(tool.name) is None]
        log.warning("mcp_tools_left_out", response_id=self._response.id, tools=left_out)
        if asked.must_call and not any(kept.get(tool.name) for tool in asked.tools):
            raise ToolsUnavailable(
                "`tool_choice` demands a call, but the model's chat template cannot show the tools that could be "
                f"called: {error}"
            )
        return kept

    async def _write_prompt(self, model: LoadedModel, tools: Toolbox | None, said: Sequence[AnyItem]) -> Prompt:
        length = model.engine.model.context_length
        briefing = Briefing(model.prompter, length, self._context, tools, self._sealer)
        return await briefing.write(self._emitter, self._tell, self._tell_compaction, self._summariser(model), said)

    def _tell(self) -> None:
        self._stream.send(self._emitter.take())

    def _tell_compaction(self) -> None:
        """Whoever takes the response over does not see the summary's tokens, so what they cost is noted."""
        counts = self._counts
        self._stream.send(self._emitter.take(), Progress([], counts.cached, counts.to_list()))

    def _summariser(self, model: LoadedModel) -> Callable[[Prompt], Awaitable[str]]:
        async def summarise(prompt: Prompt) -> str:
            """The model's answer, without its reasoning, as one text; its tokens are counted."""
            scratch = Emitter(msgspec.structs.replace(self._response, output=[]), 0)
            parser = model.prompter.dialect.parser(prompt.text)
            reader = Reader(model.engine, parser, scratch, self._counts)
            request = GenerationRequest(
                id=self._response.id,
                tokens=prompt.tokens,
                images=prompt.images,
                sampling=self._sampling(),
                max_tokens=SUMMARY_TOKENS,
            )
            generation, cached = model.engine.generate(request), self._counts.cached
            self._counts.input += len(prompt.tokens)
            before = self._counts.output
            async for chunk in generation:
                self._counts.cached = cached + generation.cached_tokens
                reader.read(chunk)
            reader.finish()
            scratch.close()
            self._counts.summaries += self._counts.output - before
            messages = (item for item in scratch.response.output if isinstance(item, Message))
            return "\n".join(text_of(part) for message in messages for part in message.content)

        return summarise

    def _request(
        self,
        model: LoadedModel,
        prompt: Prompt,
        constraint: OutputConstraint | None,
        done: Sequence[int],
        before: int,
    ) -> GenerationRequest:
        limit = self._response.max_output_tokens
        stops = (model.engine.tokenize(text) for text in model.prompter.dialect.stop_texts)
        left = None if limit is None else limit - before - len(done)
        return GenerationRequest(
            id=self._response.id,
            tokens=[*prompt.tokens, *done],
            images=prompt.images,
            sampling=self._sampling(before),
            max_tokens=0 if self._context.generation.prewarm else left,
            stop_tokens=frozenset(tokens[0] for tokens in stops if len(tokens) == 1),
            constraint=constraint,
            generated=len(done),
        )

    def _sampling(self, before: int = 0) -> Sampling:
        """`before`: tokens of earlier generations, so that no two of a response draw the same numbers."""
        settings, response, generation = self._settings, self._response, self._context.generation
        return Sampling(
            temperature=response.temperature,
            top_p=response.top_p,
            top_k=settings.top_k,
            min_p=settings.min_p,
            seed=None if generation.seed is None else generation.seed + before,
            top_logprobs=generation.logprobs,
        )

    async def _read_all(self, generation: Generation, reader: Reader, done: Progress) -> FinishReason:
        counts, before = self._counts, self._counts.cached
        if done.tokens:
            counts.cached = done.cached  # what the lost worker found in its KV cache is what counts
        finish: FinishReason = "stop"
        unsent: list[int] = []
        async for chunk in generation:
            if not done.tokens:
                counts.cached = before + generation.cached_tokens
            reader.read(chunk)
            unsent += chunk.tokens
            if events := self._emitter.take():
                self._stream.send(events, Progress(unsent, counts.cached))
                await self._stream.room()
                unsent = []
            finish = chunk.finish or finish
        reader.finish()
        return finish
