from __future__ import annotations

from vskd_stream.liveness import HUNG_AFTER_S, LAG_WINDOW_S, Lag, Progress, unready


def test_a_model_that_answers_is_alive_however_much_waits():
    progress = Progress()
    for second in range(100):
        progress.look(second, waiting=1000, done=second)
        assert progress.troubles(second) == []


def test_a_model_that_answers_nothing_while_windows_wait_is_hung():
    progress = Progress()
    for second in range(30):
        progress.look(second, waiting=3, done=7)
    assert progress.troubles(HUNG_AFTER_S - 0.1) == []
    assert progress.troubles(HUNG_AFTER_S) == ["windows wait, and the model has answered nothing for 20 s"]
    progress.look(31.0, waiting=2, done=8)
    assert progress.troubles(31.0) == []


def test_where_nothing_waits_nothing_is_hung():
    progress = Progress()
    for second in range(1000):
        progress.look(second, waiting=0, done=5)
    progress.look(1000.0, waiting=1, done=5)
    assert progress.troubles(1001.0) == []


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


def test_without_a_broker_only_an_outbox_makes_ready():
    assert unready(is_connected=True, has_outbox=False) == []
    assert unready(is_connected=False, has_outbox=True) == []
    assert len(unready(is_connected=False, has_outbox=False)) == 1
