"""The job that measures a prompt: rendered and tokenized by the same code as a generation."""

from __future__ import annotations

from functools import partial

import msgspec
import structlog

from shared.redis import conversations, counting, records
from workers.attempt import MAX_TRIES
from workers.conversation import conversation, listed_tools, room_for_prompt, write
from workers.dialects.toolbox import Toolbox
from workers.engine.core import ModelLoadError, PictureRefused
from workers.generate import NotHere, Services
from workers.template import TemplateError

log = structlog.get_logger()


async def count_tokens(services: Services, model: str, request_id: str, encoded: bytes, job_try: int) -> None:
    """Answers how many tokens a conversation has, and how many the model's context holds."""
    if job_try > MAX_TRIES:
        log.error("count_given_up", request_id=request_id)
        await counting.answer(services.redis, request_id, counting.Answer(lost=MAX_TRIES))
        return
    question = msgspec.json.decode(encoded, type=counting.Question)
    turns = await records.read_turns(services.redis, question.ancestors)
    if question.opening:
        items_of_conversation = await conversations.read_items(services.redis, question.opening)
        turns.insert(0, records.Turn(input=items_of_conversation, output=[]))
    try:
        items = conversation(turns, question.input, services.sealer, question.owner)
        tools = Toolbox(question.tools, listed_tools(items)) if question.tool_choice != "none" else None
        async with services.models.use(model) as loaded:
            length = loaded.engine.model.context_length
            room = room_for_prompt(length, question.max_output_tokens) if question.truncate else None
            written = partial(write, loaded.prompter, question.instructions, items, question.effort, room=room)
            try:
                prompt = await written(tools)
            except TemplateError:
                if tools is None or len(kept := await loaded.prompter.showable(tools)) == len(tools):
                    raise
                prompt = await written(kept)
        answer = counting.Answer(tokens=len(prompt.tokens), context_length=length)
    except ModelLoadError as error:
        if await services.served_elsewhere(model):
            raise NotHere from None
        answer = counting.Answer(error=f"it cannot be loaded: {error.reason}")
    except (TemplateError, PictureRefused) as error:
        answer = counting.Answer(error=str(error))
    await counting.answer(services.redis, request_id, answer)
