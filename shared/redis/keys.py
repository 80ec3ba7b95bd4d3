"""EVERY Redis key and channel. Nothing else in the project builds one.

| key                    | type   | written by              | lives                                              |
|------------------------|--------|-------------------------|----------------------------------------------------|
| lr:response:ID         | hash   | front end, then worker  | RESPONSE_TTL_SECONDS; unstored: until its end      |
| lr:conversation:ID     | hash   | front end, then worker  | CONVERSATION_TTL_SECONDS from its last use         |
| lr:items:ID            | hash   | front end, then worker  | as its conversation: items by their id             |
| lr:order:ID            | zset   | front end, then worker  | as its conversation: ids of items by position      |
| lr:events:ID           | stream | front end, then worker  | while it runs, then EVENT_LOG_TTL_SECONDS          |
| lr:idempotency:DIGEST  | hash   | front end               | IDEMPOTENCY_TTL_SECONDS                            |
| lr:rate:NAME           | zset   | front end               | a minute from its last request                     |
| lr:reply:ID            | list   | worker                  | a minute                                           |
| lr:queue:MODEL         | zset   | front end (arq's queue) | while a job waits or runs                          |
| lr:wake:MODEL          | list   | front end               | a minute                                           |
| lr:worker:ID           | string | worker                  | three heartbeats                                   |
| lr:workers             | set    | worker                  | for good; members go when their worker is gone     |
| arq:job:ID             | string | front end               | until the job ends, a day at most                  |
| arq:in-progress:ID     | string | worker                  | the lease: LEASE_SECONDS, renewed by its holder    |
| arq:retry:ID           | string | worker                  | until the job ends, a day at most                  |
| arq:queue:health-check | string | worker                  | arq's own                                          |

Channels: lr:events:ID carries batches of events, lr:end:ID the terminal event alone.
"""

from __future__ import annotations

import hashlib

from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix

RESPONSE_PREFIX = "lr:response:"
CONVERSATION_PREFIX = "lr:conversation:"
ORDER_PREFIX = "lr:order:"
ITEMS_PREFIX = "lr:items:"
JOB_PREFIX = job_key_prefix
WORKERS = "lr:workers"
WORKER_PREFIX = "lr:worker:"
LEASE_PREFIX = in_progress_key_prefix


def response(response_id: str) -> str:
    """The record of a response: hash, see `records`."""
    return RESPONSE_PREFIX + response_id


def conversation(conversation_id: str) -> str:
    """What a conversation is, and which running response holds it: hash, see `conversations`."""
    return CONVERSATION_PREFIX + conversation_id


def order(conversation_id: str) -> str:
    """The order of a conversation's items: ids by position; positions only grow."""
    return ORDER_PREFIX + conversation_id


def items(conversation_id: str) -> str:
    """A conversation's items by their id, encoded."""
    return ITEMS_PREFIX + conversation_id


def events(response_id: str) -> str:
    """The event log of a response: a Redis Stream whose entry `N-1` holds the event with sequence_number N."""
    return f"lr:events:{response_id}"


def events_channel(response_id: str) -> str:
    """Where batches of events are published: `FIRST_SEQUENCE\\nEVENT\\nEVENT...`."""
    return f"lr:events:{response_id}"


def end_channel(response_id: str) -> str:
    """Where the terminal event alone is published, for those who wait for the end only."""
    return f"lr:end:{response_id}"


def reply(request_id: str) -> str:
    """Where a worker puts its answer to a question that is no generation, such as a token count."""
    return f"lr:reply:{request_id}"


def idempotency(owner: str, key: str) -> str:
    """Which response a client's idempotency key stands for; the key itself is the client's and may be anything."""
    return f"lr:idempotency:{hashlib.sha256(f'{owner}:{key}'.encode()).hexdigest()}"


def rate(name: str) -> str:
    """The requests an API key's name has made in the last minute: their ids by time."""
    return f"lr:rate:{name}"


def queue(model: str) -> str:
    """arq's queue of a model variant: job ids by the time they were enqueued."""
    return f"lr:queue:{model}"


def wake(model: str) -> str:
    """One element for each job enqueued, so that each wakes one worker."""
    return f"lr:wake:{model}"


def worker(worker_id: str) -> str:
    """What a live worker says of itself: JSON, see `registry`."""
    return WORKER_PREFIX + worker_id


def lease(job_id: str) -> str:
    """arq's in-progress key; its value is the token of the holder."""
    return LEASE_PREFIX + job_id


def job(job_id: str) -> str:
    """arq's job definition."""
    return JOB_PREFIX + job_id


def retry(job_id: str) -> str:
    """arq's count of tries."""
    return retry_key_prefix + job_id
