"""Which claim may bring a suspect, and who is told when another one may."""

from __future__ import annotations

from workers.suspects import Suspects


def test_one_claim_brings_a_suspect_and_who_passed_one_over_is_told_when_none_came() -> None:
    suspects, told = Suspects(), list[str]()
    with suspects.claiming() as first:
        with suspects.claiming() as second:  # of another model of the process
            suspects.wait(lambda: told.append("second"))
        assert (first, second) == (1, 0)
        assert told == []
    assert told == ["second"]


def test_who_passed_one_over_is_told_when_the_one_that_runs_has_gone_on() -> None:
    suspects, told = Suspects(), list[str]()
    with suspects.claiming():
        suspects.begin("a", "t")
        suspects.wait(lambda: told.append("first"))
    with suspects.claiming() as second:
        suspects.wait(lambda: told.append("second"))
    assert second == 0
    suspects.clear("b", "t")
    suspects.clear("a", "an earlier run")
    assert told == []
    suspects.clear("a", "t")
    suspects.clear("a", "t")
    assert told == ["first", "second"]
    with suspects.claiming() as third:
        assert third == 1


def test_who_was_too_late_to_be_told_is_told_at_once() -> None:
    suspects, told = Suspects(), list[str]()
    with suspects.claiming():
        other = suspects.claiming()
        assert other.__enter__() == 0
    suspects.wait(lambda: told.append("late"))
    other.__exit__(None, None, None)
    assert told == ["late"]
