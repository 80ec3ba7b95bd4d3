"""How many tools a model can be told of: a server's list must neither fill the context nor push the question out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from shared.redis.records import Context
from shared.schema.content import InputText
from shared.schema.items import Message
from workers.conversation import AnyItem, room_for_prompt, write
from workers.dialects.toolbox import OfferedTool, Toolbox
from workers.excerpts import LONGEST_TOKEN
from workers.models import LoadedModel

SHARE = 2  # remote tools take half of the context at most: what they return and the answer need room too

TOO_MANY = "These are too many tools for this model's context: {why}. Name fewer in `allowed_tools`."
_HELLO = Message(id="msg_hello", role="user", content=[InputText(text="Hello")])


async def too_many(model: LoadedModel, context: Context, items: Sequence[AnyItem], tools: Toolbox) -> str | None:
    """Why remote servers' tools are too many to be told of, beside `items` and the client's own `tools`; None where
    they are not. Raises TemplateError and PictureRefused."""
    length = model.engine.model.context_length
    remote = tools.only(_remote(tools))
    if not remote:
        return None
    size = sum(len(msgspec.json.encode(tool.tool)) for tool in remote)
    if size > LONGEST_TOKEN * length:  # they need not be counted
        return TOO_MANY.format(why=f"they have {size} bytes, and it holds {length} tokens")
    tools = await model.prompter.showable(tools)
    remote = tools.only(_remote(tools))
    counted = partial(_count, model, context.generation.effort)
    taken = await counted(None, [_HELLO], remote) - await counted(None, [_HELLO], None)
    if taken > length // SHARE:
        return TOO_MANY.format(why=f"they take {taken} tokens, and it holds {length}")
    if context.generation.compact_threshold is not None:
        return None  # the conversation becomes as short as it has to be
    room, own = room_for_prompt(length, context.response.max_output_tokens), tools.only(_own(tools))
    shortest = 1 if context.generation.truncate else None
    conversation = await counted(context.response.instructions, items, own, shortest)
    if conversation < length and conversation + taken > room:
        return TOO_MANY.format(why=f"they take {taken} tokens, the conversation {conversation}, and it holds {length}")
    return None


def _remote(tools: Toolbox) -> Iterator[OfferedTool]:
    return (tool for tool in tools if tool.server)


def _own(tools: Toolbox) -> Iterator[OfferedTool]:
    return (tool for tool in tools if not tool.server)


async def _count(
    model: LoadedModel,
    effort: str | None,
    instructions: str | None,
    items: Sequence[AnyItem],
    tools: Toolbox | None,
    room: int | None = None,
) -> int:
    """Tokens of a prompt, truncated to `room` as far as possible."""
    return len((await write(model.prompter, instructions, items, effort, tools, room=room)).tokens)
