from __future__ import annotations

from vskd_stream.backoff import Backoff
from vskd_stream.sources.ble.ladder import REMOVE_EVERY, REST_AFTER, Ladder


def ladder(*, rest_s: float = 60.0) -> Ladder:
    # Without jitter, so that a pause tells its ceiling.
    return Ladder(backoff=Backoff(base_s=0.25, cap_s=3.0, uniform=lambda _, high: high), rest_s=rest_s)


def test_the_pauses_grow_up_to_the_cap() -> None:
    climbed = ladder()
    assert [climbed.failed().wait_s for _ in range(6)] == [0.25, 0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_system_forgets_the_device_every_few_failures() -> None:
    climbed = ladder()
    removed = [climbed.failed().remove for _ in range(2 * REMOVE_EVERY)]
    assert removed == ([False] * (REMOVE_EVERY - 1) + [True]) * 2


def test_a_device_that_only_ever_fails_is_left_alone() -> None:
    climbed = ladder()
    rungs = [climbed.failed() for _ in range(REST_AFTER + 1)]
    assert [rung.resting for rung in rungs] == [False] * (REST_AFTER - 1) + [True, True]
    assert rungs[-1].wait_s >= 60.0


def test_samples_close_the_breaker() -> None:
    climbed = ladder()
    for _ in range(REST_AFTER):
        climbed.failed()
    assert not climbed.lost(was_stable=False).resting
    assert not climbed.failed().resting


def test_only_a_stable_stream_makes_the_pauses_short_again() -> None:
    climbed = ladder()
    for _ in range(4):
        climbed.failed()
    assert climbed.lost(was_stable=False).wait_s == 3.0
    assert climbed.lost(was_stable=True).wait_s == 0.25
