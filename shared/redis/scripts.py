"""The Lua scripts: loaded once, called by hash, loaded again when a restarted Redis has forgotten them."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import NoScriptError

FOLDER: Final = Path(__file__).parent / "scripts"
Argument = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script; each call is atomic in Redis."""

    source: str
    sha: str

    async def call(self, redis: Redis, keys: Iterable[str], arguments: Iterable[Argument] = ()) -> Any:
        """What the script returns. Raises redis' own exceptions."""
        keys, arguments = list(keys), list(arguments)
        try:
            return await cast(Awaitable[Any], redis.evalsha(self.sha, len(keys), *keys, *arguments))  # type: ignore[arg-type]
        except NoScriptError:
            return await cast(Awaitable[Any], redis.eval(self.source, len(keys), *keys, *arguments))  # type: ignore[arg-type]

    def queue(self, pipeline: Pipeline, keys: Iterable[str], arguments: Iterable[Argument] = ()) -> None:
        """Adds the call to a pipeline, whose reply is NoScriptError where Redis does not know the script."""
        keys, arguments = list(keys), list(arguments)
        pipeline.evalsha(self.sha, len(keys), *keys, *arguments)  # type: ignore[arg-type]


def _script(*names: str) -> Script:
    source = "".join((FOLDER / f"{name}.lua").read_text() for name in names)
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


CREATE: Final = _script("_conversation", "_queue", "create")
ENQUEUE: Final = _script("_queue", "enqueue")
CLAIM: Final = _script("claim")
RENEW: Final = _script("_lease", "renew")
APPEND: Final = _script("_lease", "append")
FINISH: Final = _script("_conversation", "_lease", "finish")
OVERDUE: Final = _script("overdue")
WITHDRAW: Final = _script("withdraw")
EXPIRE: Final = _script("expire")
RELEASE: Final = _script("release")
CONTEXT: Final = _script("_conversation", "context")
WORKERS: Final = _script("workers")
CANCEL: Final = _script("_own", "cancel")
DELETE: Final = _script("_own", "delete")
DISCARD: Final = _script("discard")
START: Final = _script("start")
LOST_LOADS: Final = _script("lost_loads")
RATE: Final = _script("rate")
SET_BACK: Final = _script("_lease", "set_back")
CHECKPOINT: Final = _script("_lease", "checkpoint")
CONVERSATION_CREATE: Final = _script("_conversation", "conversation_create")
CONVERSATION_UPDATE: Final = _script("_conversation", "conversation_update")
CONVERSATION_DELETE: Final = _script("conversation_delete")
CONVERSATION_ADD: Final = _script("_conversation", "conversation_add")
CONVERSATION_REMOVE: Final = _script("_conversation", "conversation_remove")
CONVERSATION_PAGE: Final = _script("conversation_page")
CONVERSATION_ITEMS: Final = _script("_conversation", "conversation_items")
ALL: Final = (
    *(CREATE, ENQUEUE, CLAIM, RENEW, APPEND, FINISH, RELEASE, CONTEXT, WORKERS, CANCEL, DELETE, START, CHECKPOINT),
    *(RATE, DISCARD, SET_BACK),
    *(CONVERSATION_CREATE, CONVERSATION_UPDATE, CONVERSATION_DELETE, CONVERSATION_ADD, CONVERSATION_REMOVE),
    *(OVERDUE, EXPIRE, WITHDRAW, LOST_LOADS),
    *(CONVERSATION_PAGE, CONVERSATION_ITEMS),
)


async def load(redis: Redis) -> None:
    """Makes every script known to Redis, so that pipelines can call them by hash."""
    async with redis.pipeline(transaction=False) as pipeline:
        for script in ALL:
            pipeline.script_load(script.source)
        await pipeline.execute()
