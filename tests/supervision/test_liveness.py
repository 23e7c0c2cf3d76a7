from __future__ import annotations

from vskd_stream.supervision.liveness import HUNG_AFTER_S, LAG_WINDOW_S, Lag, Progress, unready


def test_a_model_that_answers_is_alive_however_much_waits():
    progress = Progress()
    for second in range(100):
        progress.went_in(second)
        progress.went_in(second)
        progress.came_out(second)
        assert progress.troubles(second + HUNG_AFTER_S - 0.1) == []


def test_a_model_that_answers_nothing_while_windows_wait_is_hung():
    progress = Progress()
    for second in range(30):
        progress.went_in(second)
    assert progress.troubles(HUNG_AFTER_S - 0.1) == []
    assert progress.troubles(HUNG_AFTER_S) == ["windows wait, and the model has answered nothing for 20 s"]
    progress.came_out(31.0)
    assert progress.troubles(31.0) == []


def test_a_model_that_hangs_is_found_out_although_windows_give_way():
    progress = Progress(hung_after_s=5.0)
    progress.went_in(0.0)
    for second in range(1, 6):
        progress.went_in(second)
        progress.gave_way()
    assert progress.troubles(4.9) == []
    assert len(progress.troubles(5.0)) == 1


def test_where_nothing_waits_nothing_is_hung():
    progress = Progress()
    assert progress.troubles(1000.0) == []
    progress.went_in(1000.0)
    progress.came_out(1000.0)
    assert progress.troubles(2000.0) == []
    progress.went_in(2000.0)
    progress.gave_way()
    assert progress.troubles(3000.0) == []
    progress.went_in(3000.0)
    assert progress.troubles(3001.0) == []


def test_the_worst_lag_is_told_for_a_minute():
    lag = Lag()
    assert lag.worst_s(0.0) == 0.0
    for second, late_s in enumerate((0.1, 0.5, 0.2, 0.3, -0.1)):
        lag.observe(second, late_s)
    assert lag.worst_s(5.0) == 0.5
    assert lag.worst_s(1 + LAG_WINDOW_S + 0.5) == 0.3
    assert lag.worst_s(500.0) == 0.0
    for second in range(10_000):
        lag.observe(1000 + second, 0.001 * (second % 7))
    assert len(lag._late) < 70


def test_without_a_broker_only_an_outbox_that_takes_events_makes_ready():
    assert unready(is_connected=True, is_durable=False) == []
    assert unready(is_connected=False, is_durable=True) == []
    assert len(unready(is_connected=False, is_durable=False)) == 1
