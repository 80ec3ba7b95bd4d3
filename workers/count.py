"""The job that measures a prompt: rendered and tokenized by the same code as a generation."""

from __future__ import annotations

from itertools import chain

import msgspec

from shared.redis import conversations, counting, records
from workers.engine.core import ModelLoadError
from workers.generate import Services
from workers.prompt import room_for_prompt, turn_items
from workers.template import TemplateError


async def count_tokens(services: Services, model: str, request_id: str, encoded: bytes) -> None:
    """Answers how many tokens a conversation has, and how many the model's context holds."""
    question = msgspec.json.decode(encoded, type=counting.Question)
    turns = await records.read_turns(services.redis, question.ancestors)
    opening = await conversations.read_items(services.redis, question.opening) if question.opening else []
    items = [*opening, *chain.from_iterable(map(turn_items, turns)), *question.input]
    try:
        async with services.models.use(model) as loaded:
            length = loaded.engine.model.context_length
            if question.truncate:
                room = room_for_prompt(length, question.max_output_tokens)
                prompt = loaded.prompter.write_truncated(question.instructions, items, question.effort, room)
            else:
                prompt = loaded.prompter.write(question.instructions, items, question.effort)
        answer = counting.Answer(tokens=len(prompt.tokens), context_length=length)
    except (TemplateError, ModelLoadError) as error:
        answer = counting.Answer(error=str(error))
    await counting.answer(services.redis, request_id, answer)
