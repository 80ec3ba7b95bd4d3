"""EVERY Redis key and channel. Nothing else in the project builds one.

| key                    | type   | written by              | lives                                              |
|------------------------|--------|-------------------------|----------------------------------------------------|
| lr:response:ID         | hash   | front end, then worker  | RESPONSE_TTL_SECONDS; unstored: until its end      |
| lr:conversation:ID     | hash   | front end, then worker  | CONVERSATION_TTL_SECONDS from its last use         |
| lr:items:ID            | hash   | front end, then worker  | as its conversation: items by their id             |
| lr:order:ID            | zset   | front end, then worker  | as its conversation: ids of items by position      |
| lr:events:ID           | stream | front end, then worker  | while it runs, then EVENT_LOG_TTL_SECONDS          |
| lr:deleted:ID          | string | front end               | a minute from its deletion                         |
| lr:idempotency:DIGEST  | hash   | front end               | IDEMPOTENCY_TTL_SECONDS                            |
| lr:rate:NAME           | zset   | front end               | a minute from its last request                     |
| lr:reply:ID            | list   | worker                  | a minute                                           |
| lr:queue:MODEL         | zset   | front end (arq's queue) | two days after its last job came                   |
| lr:lane:MODEL:OWNER    | zset   | front end               | as its queue: jobs nobody has claimed              |
| lr:owners:MODEL        | zset   | front end, then worker  | as its queue: owners with such jobs                |
| lr:claimed:MODEL       | hash   | worker                  | as its queue: owners of the jobs claimed           |
| lr:shares              | hash   | front end               | two days: owners who may not run more than N jobs  |
| lr:held:OWNER          | set    | worker                  | two days: what such an owner's jobs run as         |
| lr:deadlines           | zset   | front end               | for good; entries go with their job                |
| lr:wake:MODEL          | list   | front end               | a minute                                           |
| lr:queue:MODEL:counts  | zset   | front end, then worker  | as lr:queue:MODEL, with lane, owners, claimed, wake|
| lr:worker:ID           | string | worker                  | three heartbeats                                   |
| lr:front:ID            | string | front end               | a third of a lease, renewed while it lives         |
| lr:workers             | set    | worker                  | for good; members go when their worker is gone     |
| lr:model:ID            | string | worker                  | an hour after its last worker                      |
| lr:loads:DIGEST        | hash   | worker                  | a week from the last load of that file             |
| lr:models              | set    | worker                  | for good; members go with their lr:model:ID        |
| arq:job:ID             | string | front end               | until the job ends, a day at most                  |
| arq:in-progress:ID     | string | worker                  | the lease: LEASE_SECONDS, renewed by its holder    |
| arq:retry:ID           | string | worker                  | until the job ends (withdrawn: a minute), or a day |
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
QUEUE_PREFIX = "lr:queue:"
HELD_PREFIX = "lr:held:"
SHARES = "lr:shares"
DEADLINES = "lr:deadlines"
MODELS = "lr:models"
MODEL_PREFIX = "lr:model:"
WORKERS = "lr:workers"
WORKER_PREFIX = "lr:worker:"
LEASE_PREFIX = in_progress_key_prefix
RETRY_PREFIX = retry_key_prefix


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


def deleted(object_id: str) -> str:
    """Which call has deleted a response or a conversation, so that it finds itself again when it is retried."""
    return f"lr:deleted:{object_id}"


def idempotency(owner: str, key: str) -> str:
    """Which response a client's idempotency key stands for; the key itself is the client's and may be anything."""
    return f"lr:idempotency:{hashlib.sha256(f'{owner}:{key}'.encode()).hexdigest()}"


def rate(name: str) -> str:
    """The requests an API key's name has made in the last minute: their ids by time."""
    return f"lr:rate:{name}"


def queue(model: str) -> str:
    """arq's queue of a model variant: ids of the jobs that wait or run, by the time they were enqueued."""
    return QUEUE_PREFIX + model


def lane(model: str, owner: str) -> str:
    """An owner's jobs in a queue that nobody has claimed, by the order in which they are to be."""
    return f"lr:lane:{model}:{owner}"


def owners(model: str) -> str:
    """The owners with a lane, by the time one of their jobs was last claimed."""
    return f"lr:owners:{model}"


def claimed(model: str) -> str:
    """The jobs of a queue that were claimed: owner by id. Each runs while its lease lives, and else is to be claimed
    again."""
    return f"lr:claimed:{model}"


def deadline(job_id: str, model: str) -> str:
    """A job in DEADLINES, whose scores say until when (Redis' clock, ms) it may wait for a worker."""
    return f"{job_id}\n{queue(model)}"


def counts(model: str) -> str:
    """The queue in which token counts wait, named as the functions here name the queue of a model."""
    return f"{model}:counts"


def asker(owner: str) -> str:
    """An owner in such a queue: held to no share of the slots, for what is measured takes none."""
    return f"counts:{owner}"


def wake(model: str) -> str:
    """One element for each job enqueued, so that each wakes one worker."""
    return f"lr:wake:{model}"


def model(model_id: str) -> str:
    """A model variant as the last worker that served it described it: JSON, see `registry`."""
    return MODEL_PREFIX + model_id


def loads(file: str) -> str:
    """Who loads a model file, and how often that has ended a process: hash, see `loads`."""
    return f"lr:loads:{hashlib.sha256(file.encode(errors='surrogateescape')).hexdigest()}"


def worker(worker_id: str) -> str:
    """What a live worker says of itself: JSON, see `registry`."""
    return WORKER_PREFIX + worker_id


def front(front_id: str) -> str:
    """There while a front end lives, see `fronts`."""
    return f"lr:front:{front_id}"


def lease(job_id: str) -> str:
    """arq's in-progress key; its value is the token of the holder."""
    return LEASE_PREFIX + job_id


def job(job_id: str) -> str:
    """arq's job definition."""
    return JOB_PREFIX + job_id


def retry(job_id: str) -> str:
    """arq's count of tries."""
    return RETRY_PREFIX + job_id
