"""Signs of life: soon where a silence is new, seldom where it lasts, never so seldom that clients give up."""

from __future__ import annotations

from itertools import pairwise

from shared.settings import Settings
from workers.signs import LONGEST, Signs

CLIENTS_GIVE_UP_SECONDS = 300  # Codex without an event


def test_pauses_double_up_to_the_longest() -> None:
    signs = Signs()
    said = [look for look in range(1, 200) if signs.due(news=False)]
    assert said[:5] == [1, 3, 7, 15, 31]
    assert {later - earlier for earlier, later in pairwise(said[4:])} == {LONGEST}


def test_news_make_the_next_silence_a_new_one() -> None:
    signs = Signs()
    assert [signs.due(news=False) for _ in range(4)] == [True, False, True, False]
    assert not signs.due(news=True)
    assert [signs.due(news=False) for _ in range(3)] == [True, False, True]


def test_an_hour_of_silence_costs_few_signs_and_no_client() -> None:
    settings, signs = Settings(), Signs()
    looks = int(settings.job_timeout_seconds / settings.ping_seconds)
    assert sum(signs.due(news=False) for _ in range(looks)) <= 20
    assert (LONGEST + 1) * settings.ping_seconds < CLIENTS_GIVE_UP_SECONDS
