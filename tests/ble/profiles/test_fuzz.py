from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ble.profiles.fuzz import SUBJECTS, run
from tests.ble.profiles.links import ARRIVAL_S
from tests.decode.payloads import check_refusal, check_samples
from vskd_stream.errors import DecodeError
from vskd_stream.sources.ble.profiles import bangle

EACH = pytest.mark.parametrize("name", SUBJECTS)


@pytest.fixture(autouse=True)
def _an_impatient_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bangle, "_RESET_S", 0.0)


@EACH
def test_hostile_payloads_are_refused_or_valid_and_cost_nothing(name: str) -> None:
    counts = run(name, 4000)
    # Else the test tests nothing.
    assert counts["batches"] > 100
    assert counts["malformed"] > 200


@EACH
def test_a_good_stream_is_taken_whole(name: str) -> None:
    subject = SUBJECTS[name]
    session = subject.session()
    for i in range(100):
        found = session.decode(
            session.notify[-1], subject.payload(i), arrival_s=ARRIVAL_S + (i + 1) * subject.period_s
        )
        for samples in found:
            check_samples(samples)
            assert samples.discarded == 0
    assert found


@EACH
def test_any_bytes_are_refused_or_valid(name: str) -> None:
    session = SUBJECTS[name].session()

    @given(st.lists(st.tuples(st.binary(max_size=80), st.floats(-10, 100)), max_size=8))
    @settings(max_examples=40, deadline=None)
    def feed(packets: list[tuple[bytes, float]]) -> None:
        arrival_s = ARRIVAL_S
        for data, step_s in packets:
            arrival_s += step_s
            try:
                found = session.decode(session.notify[-1], data, arrival_s=arrival_s)
            except DecodeError as error:
                check_refusal(error)
                continue
            for samples in found:
                check_samples(samples)

    feed()
