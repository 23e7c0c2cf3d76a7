from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest

from tests.bench import plot
from tests.bench.load import Fleet, Grid, Load, Phase, _Packets, _runs, _turns
from tests.bench.load import _packet as packet
from tests.manifests import manifest
from vskd_stream.broker import _wire
from vskd_stream.decode import decode
from vskd_stream.pipeline import Pipeline
from vskd_stream.window import Window


def messages(stream: bytes) -> list[_wire.Incoming]:
    packets = _wire.Packets()
    packets.feed(stream)
    found = []
    while (whole := packets.next()) is not None:
        taken = _wire.message_of(*whole, is_v5=False)
        assert taken is not None
        found.append(taken[0])
    return found


@pytest.mark.parametrize("batch_samples", [25, 50])
@pytest.mark.parametrize("encode", [msgspec.msgpack.encode, msgspec.json.encode])
def test_a_watchs_batches_are_whole_and_follow_each_other(encode, batch_samples) -> None:
    fleet = Fleet.of(3, together=False, batch_samples=batch_samples)
    packets = _Packets(encode, fleet)
    stream = b"".join(packets.make(2, batch) for batch in range(20))
    batches = [decode(each.payload, device="d2")[0] for each in messages(stream)]
    assert [each.sequence for each in batches] == list(range(20))
    assert all(len(each) == batch_samples for each in batches)
    assert batches[0].t_s[0] == fleet.first_tick[2] / 50
    for before, after in pairwise(batches):
        assert after.t_s[0] - before.t_s[0] == pytest.approx(batch_samples / 50)


@pytest.mark.parametrize("batch_samples", [25, 50])
@pytest.mark.parametrize(("grid_hz", "window", "hop"), [(20.0, 100, 20), (50.0, 100, 25), (20.0, 40, 10)])
def test_it_knows_which_windows_the_daemon_makes_of_a_watch_and_of_which_batch(
    grid_hz, window, hop, batch_samples
) -> None:
    grid = Grid(grid_hz, window, hop, batch_samples)
    fleet = Fleet.of(10, together=False, seed=1, batch_samples=batch_samples)
    packets = _Packets(msgspec.msgpack.encode, fleet)
    for device, first_tick in enumerate(fleet.first_tick.tolist()):
        pipeline = Pipeline(
            "d", manifest=manifest(sampling_rate_hz=grid_hz, window_samples=window, hop_samples=hop),
            bundle_sha256="", reorder_horizon_s=2.0, no_data_after_s=5.0,
        )  # fmt: skip
        completed = []
        for batch in range(40):
            (message,) = messages(packets.make(device, batch))
            (samples,) = decode(message.payload, device="d")
            for cut in pipeline.cut(samples, arrival_s=batch / 2):
                assert isinstance(cut.piece, Window)
                completed.append((cut.piece.end_sample, batch))
        assert len(completed) == grid.windows(first_tick=first_tick, batches=range(40))
        for end_sample, batch in completed:
            assert grid.completing_batch(end_sample, first_tick=first_tick) == batch


def test_everyone_has_a_turn_in_order() -> None:
    moment_s = np.array([0.4, 0.0001, 0.2, 0.0002])
    turns = list(_turns(moment_s))
    assert [devices for _, devices in turns] == [[1, 3], [2], [0]]
    assert [moment for moment, _ in turns] == [0.0002, 0.2, 0.4]


def test_a_phase_without_a_watch_breaks_its_run() -> None:
    phases = [Phase(2, 5.0), Phase(1, 5.0), Phase(2, 5.0)]
    assert list(_runs(phases, 0, batch_s=0.5)) == [range(30)]
    assert list(_runs(phases, 1, batch_s=0.5)) == [range(10), range(20, 30)]


def test_scores_are_found_however_they_were_read() -> None:
    def score(device: int, end: int) -> bytes:
        topic = f"vskd/gw/d{device}/scores".encode()
        return packet(0x30, len(topic).to_bytes(2, "big") + topic + b'{"end_sample":%d,"x":0}' % end)

    stream = score(3, 20) + packet(0xD0, b"") + score(12, 4000)
    for cut in range(len(stream)):
        load = Load(None, Fleet.of(1, together=True))
        load.received = [(1.0, stream[:cut]), (2.0, stream[cut:])]
        assert [(device, end) for _, device, end in load.scores()] == [(3, 20), (12, 4000)]


def test_a_drawing_is_an_svg_with_a_point_for_each_figure() -> None:
    runs = [
        {"phases_wanted": f"{n}x20", "cpu_daemon": 0.02 + n / 1000, "cpu_daemon_loop": n / 3000}
        for n in (10, 100, 1000)
    ]
    root = ET.fromstring(plot.drawing(runs))
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 6
