"""`item_reference`: an item's id tells which response it belongs to, so that no index is needed."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from api.errors import ApiError, shown
from shared.redis import records
from shared.schema.ids import response_of
from shared.schema.items import Item, ItemReference


async def resolve(redis: Redis, items: Sequence[Item | ItemReference], owner: str, where: str = "input") -> list[Item]:
    """`items`, which stand at `where`, with every reference replaced by what it stands for.

    Raises ApiError for one that stands for nothing.
    """
    wanted = list(dict.fromkeys(response_of(item.id) for item in items if isinstance(item, ItemReference)))
    if not wanted:
        return [item for item in items if not isinstance(item, ItemReference)]
    turns = await records.read_turns(redis, wanted, owner, whole=True)
    known: dict[str, Item] = {item.id: item for turn in turns for item in (*turn.input, *turn.output)}
    resolved: list[Item] = []
    for position, item in enumerate(items):
        if not isinstance(item, ItemReference):
            resolved.append(item)
        elif item.id in known:
            resolved.append(known[item.id])
        else:
            message = f"Item with id '{shown(item.id)}' not found."
            raise ApiError(404, message, param=f"{where}[{position}].id", code="item_not_found")
    return resolved
