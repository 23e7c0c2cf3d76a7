from __future__ import annotations

from structlog.testing import capture_logs

from vskd_stream.tally import Tally


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def test_the_first_of_a_kind_is_told_and_the_rest_of_the_minute_only_counts():
    clock = Clock()
    tally = Tally(monotonic_s=clock)
    with capture_logs() as logs:
        for _ in range(1000):
            tally.drop("watch", "late")
        clock.now_s = 61.0
        tally.drop("watch", "late")
    assert [(entry["who"], entry["reason"], entry["count"]) for entry in logs] == [
        ("watch", "late", 1),
        ("watch", "late", 1000),
    ]
    assert tally.counts == {"late": 1001}


def test_devices_and_reasons_are_told_apart():
    tally = Tally(monotonic_s=Clock())
    with capture_logs() as logs:
        tally.drop("a", "late")
        tally.drop("b", "late")
        tally.drop("a", "duplicate")
    assert len(logs) == 3


def test_a_stranger_who_invents_names_does_not_fill_the_memory():
    tally = Tally(monotonic_s=Clock())
    with capture_logs():
        for i in range(5000):
            tally.drop(f"device-{i}", "device_limit")
    assert len(tally._kinds) <= 1024


def test_a_gap_is_told_as_what_it_is():
    tally = Tally(monotonic_s=Clock())
    with capture_logs() as logs:
        tally.gap("watch", "missing")
        tally.gap("watch", "missing")
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("gap", "info")]
    assert tally.counts == {"gap_missing": 2}


def test_a_gap_that_somebody_can_mend_is_a_warning():
    tally = Tally(monotonic_s=Clock())
    with capture_logs() as logs:
        tally.gap("watch", "units_suspect", "the unit is m/s2, not g")
    assert [(entry["log_level"], entry["detail"]) for entry in logs] == [
        ("warning", "the unit is m/s2, not g")
    ]
