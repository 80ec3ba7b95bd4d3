"""Whose job is taken next, what comes into a queue, and when it is given up. Against a real Redis."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from shared.redis import keys, queue, scripts
from shared.redis.queue import Refused, Terms

MODEL = "publisher/model@q8_0"
LEASE_MS = 60_000


async def put(redis: Redis, job_id: str, owner: str = "a", **terms: object) -> None:
    await queue.enqueue(redis, MODEL, job_id, Terms(owner=owner, **terms), queue.COUNT_TOKENS, job_id)  # type: ignore[arg-type]


async def claim(redis: Redis, wanted: int = 1, token: str = "t", model: str = MODEL) -> list[str]:
    leases = await redis.keys(keys.LEASE_PREFIX + "*")
    running = [key.decode().removeprefix(keys.LEASE_PREFIX) for key in leases if await redis.get(key) == token.encode()]
    return [claim.job_id for claim in await queue.claim(redis, model, token, wanted, LEASE_MS, running=running)]


async def end(redis: Redis, *job_ids: str, token: str = "t", model: str = MODEL) -> None:
    for job_id in job_ids:
        assert await queue.release(redis, model, job_id, token, done=True)


async def die(redis: Redis, *job_ids: str) -> None:
    """Their worker renews no lease any more, and the leases have run out."""
    await redis.delete(*map(keys.lease, job_ids))


async def test_one_job_is_among_the_next_though_500_of_another_owner_wait(redis: Redis) -> None:
    for number in range(500):
        await put(redis, f"a{number}")
    running = await claim(redis, 4)
    assert running == ["a0", "a1", "a2", "a3"]
    await put(redis, "b0", "b")
    await end(redis, running.pop(0))
    assert await claim(redis) == ["b0"]
    await end(redis, *running, "b0")
    assert await claim(redis, 4) == ["a4", "a5", "a6", "a7"]


async def test_owners_share_the_slots_and_each_goes_first_in_first_out(redis: Redis) -> None:
    for number in range(8):
        for owner in "abc":
            await put(redis, f"{owner}{number}", owner)
    taken = await claim(redis, 6)
    assert sorted(taken) == ["a0", "a1", "b0", "b1", "c0", "c1"]
    await end(redis, "a0", "a1")
    assert await claim(redis, 2) == ["a2", "a3"]
    await end(redis, "b0", "c0")
    assert sorted(await claim(redis, 2)) == ["b2", "c2"]


async def test_two_workers_share_as_one_would(redis: Redis) -> None:
    for number in range(20):
        await put(redis, f"a{number}")
    await asyncio.gather(claim(redis, 4, "one"), claim(redis, 4, "two"))
    for number in range(20):
        await put(redis, f"b{number}", "b")
    await end(redis, *[f"a{n}" for n in range(8) if await redis.get(keys.lease(f"a{n}")) == b"one"], token="one")
    freed = 8 - await live(redis)
    assert freed == 4
    halves = await asyncio.gather(claim(redis, 2, "one"), claim(redis, 2, "two"))
    assert sorted([*halves[0], *halves[1]]) == ["b0", "b1", "b2", "b3"]


async def scores(redis: Redis) -> dict[str, tuple[float, str]]:
    """When the jobs came, to the millisecond; of those that came in the same one the ids decide."""
    return {
        job.decode(): (score, job.decode())
        for job, score in await redis.zrange(keys.queue(MODEL), 0, -1, withscores=True)
    }


async def live(redis: Redis) -> int:
    return len(await redis.keys(keys.LEASE_PREFIX + "*"))


async def test_what_a_dead_worker_left_is_taken_first_and_counts_for_nobody_meanwhile(redis: Redis) -> None:
    for number in range(6):
        await put(redis, f"a{number}")
        await put(redis, f"b{number}", "b")
    first = await claim(redis, 4)
    assert sorted(first) == ["a0", "a1", "b0", "b1"]
    await die(redis, *first)
    again = await claim(redis, 3)
    assert again == sorted(again, key=(await scores(redis)).get)
    [last, new] = await claim(redis, 2)
    assert sorted([*again, last]) == sorted(first)
    assert new == "a2"  # both run two by then, and a was served longer ago


async def test_a_job_that_runs_here_is_not_taken_again_though_its_lease_has_lapsed(redis: Redis) -> None:
    """As behind an outage, where the claim may come before the renewal."""
    await put(redis, "a1")
    await put(redis, "a2")
    [first] = await queue.claim(redis, MODEL, "mine", 1, LEASE_MS)
    await die(redis, first.job_id)
    taken = await queue.claim(redis, MODEL, "mine too", 9, LEASE_MS, running=[first.job_id])
    assert [claim.job_id for claim in taken] == ["a2"]
    again = await queue.claim(redis, MODEL, "other", 9, LEASE_MS)
    assert [claim.job_id for claim in again] == ["a1"]


async def test_a_job_given_back_is_taken_before_others_of_its_owner(redis: Redis) -> None:
    for number in range(4):
        await put(redis, f"a{number}")
    assert await claim(redis, 2) == ["a0", "a1"]
    assert await queue.release(redis, MODEL, "a1", "t", done=False)
    assert await claim(redis, 2) == ["a1", "a2"]


async def lose(redis: Redis, times: int, *job_ids: str) -> None:
    """Their workers are lost, for the so-many-th time."""
    for job_id in job_ids:
        await redis.set(keys.retry(job_id), times)
    await die(redis, *job_ids)


async def test_of_jobs_that_lost_two_workers_one_is_taken_at_a_time(redis: Redis) -> None:
    for number in range(5):
        await put(redis, f"a{number}")
    await claim(redis, 3)
    await lose(redis, queue.SUSPECT_LOSSES, "a0", "a2")
    await lose(redis, 1, "a1")
    first = await queue.claim(redis, MODEL, "one", 9, LEASE_MS)
    assert [(claim.job_id, claim.suspect) for claim in first if claim.suspect] == [("a0", True)]
    assert [claim.job_id for claim in first] == ["a0", "a1", "a3", "a4"]
    assert first.suspects_left == 1
    await put(redis, "a5")
    beside = await queue.claim(redis, MODEL, "two", 9, LEASE_MS, suspects=0)
    assert [(claim.job_id, claim.suspect) for claim in beside] == [("a5", False)]
    assert [claim.job_id for claim in await queue.claim(redis, MODEL, "other", 9, LEASE_MS)] == ["a2"]


async def test_a_suspect_that_waits_keeps_no_place_from_others(redis: Redis) -> None:
    for number in range(4):
        await put(redis, f"a{number}")
    await claim(redis, 2)
    await lose(redis, queue.SUSPECT_LOSSES, "a0", "a1")
    taken = await queue.claim(redis, MODEL, "t", 2, LEASE_MS, suspects=0)
    assert [claim.job_id for claim in taken] == ["a2", "a3"]


async def test_a_response_that_goes_on_is_no_suspect_any_more_so_many_times(redis: Redis) -> None:
    await put(redis, "a0")
    await redis.hset(keys.response("a0"), "status", "in_progress")  # type: ignore[misc]
    assert await claim(redis) == ["a0"]
    await redis.set(keys.retry("a0"), 3)
    assert not await queue.set_back(redis, "a0", "another")
    assert await redis.get(keys.retry("a0")) == b"3"
    for _ in range(queue.SET_BACKS):
        await redis.set(keys.retry("a0"), 3, ex=1000)
        assert await queue.set_back(redis, "a0", "t")
        assert await redis.get(keys.retry("a0")) == b"1"  # the try that runs
        assert await redis.ttl(keys.retry("a0")) > 0
    await redis.set(keys.retry("a0"), 3)
    assert not await queue.set_back(redis, "a0", "t")
    assert await redis.get(keys.retry("a0")) == b"3"


async def test_what_has_ended_is_not_set_back(redis: Redis) -> None:
    await put(redis, "a0")
    assert await claim(redis) == ["a0"]
    await redis.set(keys.retry("a0"), 3)
    assert not await queue.set_back(redis, "a0", "t")  # no record: a token count
    await end(redis, "a0")
    assert not await queue.set_back(redis, "a0", "t")
    assert await redis.keys("arq:*") == []


async def test_an_owner_with_a_share_never_runs_more_on_all_models_together(redis: Redis) -> None:
    other = "publisher/other@q8_0"
    for number in range(4):
        await put(redis, f"a{number}", share=3)
        terms = Terms(owner="a", share=3)
        await queue.enqueue(redis, other, f"x{number}", terms, queue.COUNT_TOKENS, f"x{number}")
    await put(redis, "b0", "b")
    assert await claim(redis, 2) == ["a0", "b0"]
    assert await claim(redis, 8, model=other) == ["x0", "x1"]
    assert await claim(redis, 8) == []
    await end(redis, "a0")
    assert await claim(redis, 8) == ["a1"]
    await die(redis, "x0", "x1")  # their worker is gone: the places are free again, though it gave nothing back
    assert await claim(redis, 8) == ["a2", "a3"]
    assert await claim(redis, 8, model=other) == ["x0", "x1"]  # what was begun goes on all the same


async def test_a_lease_that_lapsed_and_was_taken_again_counts(redis: Redis) -> None:
    for number in range(3):
        await put(redis, f"a{number}", share=1)
    assert await claim(redis) == ["a0"]
    await die(redis, "a0")  # for a moment: its worker was paused
    await queue.enqueue(redis, "other", "x", Terms(owner="a", share=1), queue.COUNT_TOKENS, "x")
    assert await claim(redis, model="other") == ["x"]
    await redis.set(keys.lease("a0"), "t", px=LEASE_MS)
    await end(redis, "x", model="other")
    assert await claim(redis, 3) == []
    await end(redis, "a0")
    assert await claim(redis, 3) == ["a1"]
    assert await redis.smembers("lr:held:a") == {b"a1"}


async def test_a_share_that_is_taken_away_holds_nobody_back(redis: Redis) -> None:
    for number in range(4):
        await put(redis, f"a{number}", share=1)
    assert await claim(redis, 4) == ["a0"]
    await put(redis, "a4")
    assert await claim(redis, 9) == ["a1", "a2", "a3", "a4"]


async def test_what_is_withdrawn_leaves_nothing_and_tells_how_many_workers_it_took(redis: Redis) -> None:
    await put(redis, "a0")
    assert await queue.withdraw(redis, MODEL, "a0", "a") == 0
    assert await redis.keys("lr:queue:*") + await redis.keys("lr:lane:*") + await redis.keys("arq:*") == []
    assert await redis.exists(keys.DEADLINES, keys.owners(MODEL)) == 0
    assert await claim(redis) == []
    await put(redis, "a1")
    await claim(redis)
    await lose(redis, 2, "a1")
    assert await queue.withdraw(redis, MODEL, "a1", "a") == 2
    assert await claim(redis) == []
    assert await redis.keys("arq:*") == [keys.retry("a1").encode()]
    assert 0 < await redis.ttl(keys.retry("a1")) <= 60


async def test_what_runs_is_withdrawn_from_all_others(redis: Redis) -> None:
    await put(redis, "a0")
    await put(redis, "a1")
    assert await claim(redis, 2) == ["a0", "a1"]
    await redis.set(keys.retry("a0"), 2)
    assert await queue.withdraw(redis, MODEL, "a0", "a") == 1  # the second try runs
    assert not await redis.exists(keys.job("a0"))
    await end(redis, "a0", "a1")
    assert await redis.keys("arq:*") == []


async def test_what_is_kept_for_a_moment_only_shortens_the_life_of_nothing_else(redis: Redis) -> None:
    await put(redis, "a0", share=1)
    await put(redis, "a1", share=1, ttl_ms=1000)
    for key in (keys.queue(MODEL), keys.lane(MODEL, "a"), keys.owners(MODEL), keys.SHARES):
        assert await redis.pttl(key) > 24 * 3600 * 1000
    assert await redis.pttl(keys.job("a1")) <= 1000


async def test_more_owners_than_one_page_are_all_served(redis: Redis) -> None:
    owners = [f"owner{number:03}" for number in range(250)]
    for owner in owners:
        await put(redis, f"{owner}-0", owner, share=1)
        await put(redis, f"{owner}-1", owner, share=1)
    assert await claim(redis, 200) == [f"{owner}-0" for owner in owners[:200]]
    assert await claim(redis, 200) == [f"{owner}-0" for owner in owners[200:]]  # the others run what they may
    await end(redis, "owner100-0")
    assert await claim(redis, 10) == ["owner100-1"]


class Model:
    """The rule, written down in the simplest way: who runs the fewest, of these who was unserved for longest."""

    def __init__(self) -> None:
        self.lanes: dict[str, list[str]] = defaultdict(list)
        self.order: list[str] = []  # owners with a lane, longest unserved first
        self.running: dict[str, str] = {}
        self.left: list[str] = []
        self.owner: dict[str, str] = {}
        self.jobs = 0
        self.shares: dict[str, int] = {}

    def put(self, job_id: str, owner: str, share: int) -> None:
        self.owner[job_id], self.shares[owner] = owner, share
        self.jobs += 1
        self.lanes[owner].append(job_id)
        if owner not in self.order:
            self.order.append(owner)

    def runs(self, owner: str) -> int:
        return sum(self.owner[job_id] == owner for job_id in self.running)

    def claim(self, wanted: int, came: Callable[[str], float]) -> list[str]:
        """`came` says when a job came, to the millisecond."""
        taken = sorted(self.left, key=lambda job_id: (came(job_id), job_id))[:wanted]
        self.left = [job_id for job_id in self.left if job_id not in taken]
        self.running |= dict.fromkeys(taken, "")
        while len(taken) < wanted:
            open_ = [o for o in self.order if not self.shares[o] or self.runs(o) < self.shares[o]]
            if not open_:
                break
            owner = min(open_, key=self.runs)  # the first of the least
            job_id = self.lanes[owner].pop(0)
            self.order.remove(owner)
            if self.lanes[owner]:
                self.order.append(owner)
            self.running[job_id] = ""
            taken.append(job_id)
        return taken


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd"), st.integers(1, 5)),
        st.tuples(st.just("claim"), st.integers(1, 6), st.none()),
        st.tuples(st.sampled_from(["end", "die", "give back"]), st.integers(0, 99), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 99), st.none()),
    ),
    max_size=60,
)


@pytest.fixture
def blocking(redis_url: str) -> Iterator[BlockingRedis]:
    client = BlockingRedis.from_url(redis_url)
    yield client
    client.close()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.fixed_dictionaries({owner: st.integers(0, 2) for owner in "abcd"}))
def test_whatever_happens_the_order_is_the_rules(
    blocking: BlockingRedis, steps: list[tuple[str, object, object]], shares: dict[str, int]
) -> None:
    blocking.flushall()
    model = Model()

    def run(script: scripts.Script, names: list[str], *arguments: object) -> object:
        return blocking.eval(script.source, len(names), *names, *arguments)  # type: ignore[arg-type]

    def take(wanted: object) -> list[bytes]:
        names = [keys.queue(MODEL), keys.claimed(MODEL), keys.owners(MODEL), keys.SHARES, keys.DEADLINES]
        prefixes = [keys.LEASE_PREFIX, keys.lane(MODEL, ""), keys.HELD_PREFIX]
        others = [keys.JOB_PREFIX, keys.RESPONSE_PREFIX, keys.RETRY_PREFIX, 1, queue.SUSPECT_LOSSES]
        arguments = [*prefixes, "t", wanted, LEASE_MS, 10**6, *others, *model.running]
        return run(scripts.CLAIM, names, *arguments)  # type: ignore[return-value]

    def came(job_id: str) -> float:
        return blocking.zscore(keys.queue(MODEL), job_id)  # type: ignore[return-value]

    for kind, first, second in steps:
        if kind == "put":
            for _ in range(second):  # type: ignore[call-overload]
                owner, job_id = str(first), f"{first}{model.jobs}"
                terms = Terms(owner=owner, share=shares[owner])
                run(scripts.ENQUEUE, queue.names(MODEL, job_id, owner), job_id, b"", queue.encode_terms(terms))
                model.put(job_id, owner, shares[owner])
        elif kind == "claim":
            assert [job_id.decode() for job_id in take(first)[1::3]] == model.claim(first, came)  # type: ignore[arg-type]
        elif kind == "cancel":
            jobs = [job_id for lane in model.lanes.values() for job_id in lane]
            if jobs:  # it leaves the queue, and whoever looks into its lane finds it out
                job_id = jobs[first % len(jobs)]  # type: ignore[operator]
                blocking.zrem(keys.queue(MODEL), job_id)
                lane = model.lanes[model.owner[job_id]]
                lane.remove(job_id)
                blocking.zrem(keys.lane(MODEL, model.owner[job_id]), job_id)
                if not lane:
                    model.order.remove(model.owner[job_id])
                    blocking.zrem(keys.owners(MODEL), model.owner[job_id])
        elif model.running:
            job_id = list(model.running)[first % len(model.running)]  # type: ignore[operator]
            del model.running[job_id]
            if kind == "die":
                blocking.delete(keys.lease(job_id))
                model.left.append(job_id)
            else:
                names = [keys.lease(job_id), keys.queue(MODEL), keys.job(job_id), keys.retry(job_id), keys.wake(MODEL)]
                names += [keys.claimed(MODEL), keys.DEADLINES]
                assert run(scripts.RELEASE, names, "t", job_id, int(kind == "end")) == 1
                if kind == "give back":
                    model.left.append(job_id)
    assert [job_id.decode() for job_id in take(10**3)[1::3]] == model.claim(10**3, came)
    left = sum(map(len, model.lanes.values()))
    assert blocking.zcard(keys.queue(MODEL)) == len(model.running) + left
    assert blocking.hlen(keys.claimed(MODEL)) == len(model.running)


async def test_cancelled_jobs_in_a_lane_are_passed_over(redis: Redis) -> None:
    for number in range(5):
        await put(redis, f"a{number}")
    await redis.zrem(keys.queue(MODEL), "a0", "a1", "a3")
    assert await claim(redis, 3) == ["a2", "a4"]
    assert await redis.keys("lr:lane:*") == []


async def test_a_job_that_somebody_is_ending_is_not_run_and_not_forgotten(redis: Redis) -> None:
    await put(redis, "a0")
    await put(redis, "a1")
    await redis.set(keys.lease("a0"), "a front end", px=LEASE_MS)
    assert await claim(redis, 2) == ["a1"]
    await die(redis, "a0")  # the front end was killed before it had ended it
    assert await claim(redis, 2) == ["a0"]


async def test_a_full_queue_refuses_who_has_his_part_of_it_and_no_one_else(redis: Redis) -> None:
    known = {"max_queue": 10, "slots": 2, "interval_ms": 500.0, "job_ms": 1000.0}
    for number in range(2):
        await put(redis, f"run{number}", **known)
    await claim(redis, 2)
    for number in range(10):
        await put(redis, f"a{number}", **known)
    with pytest.raises(Refused) as refused:
        await put(redis, "a10", **known)
    assert (refused.value.reason, refused.value.waiting, refused.value.retry_ms) == ("queue", 10, 500)
    for number in range(5):
        await put(redis, f"b{number}", "b", **known)
    with pytest.raises(Refused):
        await put(redis, "b5", "b", **known)
    with pytest.raises(Refused):
        await put(redis, "a11", **known)
    assert await redis.exists(keys.job("a11"), keys.job("b5")) == 0
    await claim(redis, 6)
    await put(redis, "b6", "b", **known)  # fewer than ten wait again


async def test_the_wait_is_estimated_by_the_jobs_ahead_and_the_pace(redis: Redis) -> None:
    known = {"max_wait_ms": 3000, "slots": 2, "interval_ms": 500.0, "job_ms": 1000.0}
    for number in range(2):
        await put(redis, f"run{number}", **known)
    await claim(redis, 2)
    for number in range(6):  # the sixth waits for six ends of jobs: 3 s
        await put(redis, f"a{number}", **known)
    with pytest.raises(Refused) as refused:
        await put(redis, "a6", **known)
    assert (refused.value.reason, refused.value.wait_ms, refused.value.retry_ms) == ("wait", 3500, 500)
    await put(redis, "b0", "b", **known)  # owners take turns: before this one there is one of a's
    await put(redis, "b1", "b", **known)
    await put(redis, "b2", "b", **known)
    with pytest.raises(Refused) as refused:
        await put(redis, "b3", "b", **known)
    assert refused.value.wait_ms == 4000
    await put(redis, "free", **{**known, "slots": 99})  # there are slots: no wait


async def test_slots_that_are_about_to_be_taken_are_nobodys_wait(redis: Redis) -> None:
    known = {"max_wait_ms": 1000, "slots": 4, "interval_ms": 1000.0, "job_ms": 4000.0}
    for number in range(5):  # nobody has claimed one yet, but four will begin at once
        await put(redis, f"a{number}", **known)
    with pytest.raises(Refused) as refused:
        await put(redis, "a5", **known)
    assert refused.value.wait_ms == 2000


async def test_an_owner_with_a_share_waits_for_his_own_places(redis: Redis) -> None:
    known = {"max_wait_ms": 3000, "slots": 10, "interval_ms": 100.0, "job_ms": 1000.0, "share": 1}
    await put(redis, "run", **known)
    await claim(redis, 10)
    await put(redis, "a0", **known)
    await put(redis, "a1", **known)
    await put(redis, "a2", **known)
    with pytest.raises(Refused) as refused:
        await put(redis, "a3", **known)
    assert refused.value.wait_ms == 4000


async def test_nothing_is_refused_where_nothing_is_known_and_nothing_is_limited(redis: Redis) -> None:
    for number in range(50):
        await put(redis, f"a{number}", max_wait_ms=1)
        await put(redis, f"b{number}", slots=1, interval_ms=1e9, job_ms=1e9)


async def look(redis: Redis, again_ms: int = 0) -> list[str]:
    """The jobs that are the caller's to end."""
    overdue = await queue.overdue(redis, 100)
    return [
        job.entry.replace("\n", " ") for job in overdue if await queue.expire(redis, job, "web", LEASE_MS, again_ms)
    ]


async def test_an_overdue_job_is_ended_by_one_of_all_that_look(redis: Redis) -> None:
    await put(redis, "late", timeout_ms=0)
    await put(redis, "early", timeout_ms=60_000)
    found = await asyncio.gather(*(queue.overdue(redis, 100) for _ in range(5)))
    assert [[job.job_id for job in jobs] for jobs in found] == [["late"]] * 5
    mine = await asyncio.gather(*(queue.expire(redis, job, f"w{n}", LEASE_MS, 60_000) for n, [job] in enumerate(found)))
    assert sorted(mine) == [False] * 4 + [True]
    assert await claim(redis, 5) == ["early"]
    await end(redis, "late", token=f"w{mine.index(True)}")
    await end(redis, "early")
    assert await redis.exists(keys.DEADLINES, keys.queue(MODEL), keys.claimed(MODEL)) == 0


async def test_a_running_job_is_not_overdue_however_long_it_runs(redis: Redis) -> None:
    await put(redis, "runs", timeout_ms=0)
    await claim(redis)
    for _ in range(3):
        assert await look(redis) == []
    await end(redis, "runs")
    assert await queue.overdue(redis, 9) == []


async def test_a_job_whose_worker_died_has_the_same_time_again_to_be_taken_over(redis: Redis) -> None:
    await put(redis, "job", timeout_ms=0)
    await claim(redis)
    await die(redis, "job")
    assert await look(redis, 60_000) == []  # seen for the first time
    assert await queue.overdue(redis, 9) == []
    assert await claim(redis) == ["job"]  # another worker has it ...
    await die(redis, "job")  # ... and dies as well: the time begins anew
    assert await look(redis) == []
    [lost] = await look(redis)
    assert lost.startswith("job ")
    [job] = await queue.overdue(redis, 9) or [None]
    assert job is None  # it is looked at again only after the lease of who ends it


async def test_a_front_end_that_dies_while_it_ends_a_job_leaves_it_to_the_next(redis: Redis) -> None:
    await put(redis, "job", timeout_ms=0)
    [job] = await queue.overdue(redis, 9)
    assert await queue.expire(redis, job, "dead", 1, 0)
    async with asyncio.timeout(30):
        while not await look(redis):
            await asyncio.sleep(0.005)
    await end(redis, "job", token="web")
    assert await redis.keys("lr:deadlines") == []


async def commands(redis: Redis) -> int:
    """How many commands scripts have run: the cost of a claim, whatever the machine is busy with."""
    statistics = await redis.info("commandstats")
    return sum(entry["calls"] for entry in statistics.values())


async def test_a_claim_costs_the_same_whether_ten_jobs_wait_or_ten_thousand(redis: Redis) -> None:
    async def cost(waiting: int, owners: int) -> int:
        await redis.flushall()
        async with redis.pipeline(transaction=False) as pipeline:
            for number in range(waiting):
                owner = f"o{number % owners}"
                names, terms = queue.names(MODEL, f"j{number}", owner), queue.encode_terms(Terms(owner=owner))
                pipeline.eval(scripts.ENQUEUE.source, len(names), *names, f"j{number}", b"", terms)
            await pipeline.execute()
        assert len(await claim(redis, 4)) == 4
        before = await commands(redis)
        assert len(await claim(redis, 4)) == 4
        return await commands(redis) - before

    few = await cost(10, 2)
    assert await cost(10_000, 2) == few
    assert await cost(10_000, 50) < few + 100


async def test_a_wake_up_that_is_passed_on_is_the_next_one_and_does_not_stay_for_ever(redis: Redis) -> None:
    await put(redis, "j0")
    await put(redis, "j1")
    popped = await queue.pop(redis, [keys.wake(MODEL)])
    assert popped == (keys.wake(MODEL), b"j0")
    await queue.pass_on(redis, MODEL, popped[1])
    assert await queue.pop(redis, [keys.wake(MODEL)]) == popped
    await queue.pop(redis, [keys.wake(MODEL)])
    await queue.pass_on(redis, MODEL, popped[1])
    assert 0 < await redis.ttl(keys.wake(MODEL)) <= queue.WAKE_SECONDS


async def put_as_before(redis: Redis, job_id: str, owner: str | None = "a") -> None:
    """As a front end of a version without lanes does; `owner` has a response, None is a token count."""
    await redis.set(keys.job(job_id), queue.definition(queue.GENERATE, job_id), px=queue.JOB_TTL_MS)
    await redis.zadd(keys.queue(MODEL), {job_id: len(await redis.keys(keys.JOB_PREFIX + "*"))})
    await redis.rpush(keys.wake(MODEL), job_id)
    if owner is not None:
        await redis.hset(keys.response(job_id), mapping={"owner": owner, "status": "queued"})


async def test_jobs_of_front_ends_without_lanes_are_taken_oldest_first(redis: Redis) -> None:
    for number in range(3):
        await put_as_before(redis, f"a{number}")
    await put_as_before(redis, "count", None)
    assert await claim(redis, 2) == ["a0", "a1"]
    await end(redis, "a0")
    await die(redis, "a1")
    assert await claim(redis, 2) == ["a1", "a2"]
    assert await claim(redis, 2) == ["count"]
    assert await claim(redis) == []
    await end(redis, "a1", "a2", "count")
    assert await redis.keys("lr:queue:*") == await redis.keys("arq:*") == []


async def test_jobs_without_a_lane_wait_for_nobody_and_take_no_others_place(redis: Redis) -> None:
    """Both kinds of front ends at once: what is in a lane is served by it alone, and shares hold."""
    await put_as_before(redis, "a0")
    await put_as_before(redis, "count", None)
    await put(redis, "b0", "b", share=1)
    await put(redis, "b1", "b", share=1)
    await redis.hset(keys.response("b1"), mapping={"owner": "b", "lane": keys.lane(MODEL, "b")})
    assert await claim(redis, 1) == ["b0"]
    assert await claim(redis, 9) == ["a0"]
    await put_as_before(redis, "b2", "b")
    assert await claim(redis, 9) == []
    await end(redis, "b0")
    assert await claim(redis, 9) == ["b1", "count"]
    await end(redis, "b1")
    assert await claim(redis, 9) == ["b2"]


async def test_a_job_that_has_expired_does_not_stay_in_the_queue(redis: Redis) -> None:
    await put_as_before(redis, "a0")
    await redis.delete(keys.job("a0"))
    assert await claim(redis) == []
    assert not await redis.exists(keys.queue(MODEL))
