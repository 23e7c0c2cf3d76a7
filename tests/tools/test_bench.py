from __future__ import annotations

import json

import pytest

from tests.models import tiny_bundle
from vskd_stream import bundle, cli, runtime
from vskd_stream.runtime import Way
from vskd_stream.tools import bench
from vskd_stream.tools.bench import Trial, choose


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    path = tiny_bundle(tmp_path_factory.mktemp("bench") / "tiny.onnx")
    return bench.measure(bundle.load(path), turns=3)


def test_every_stage_has_its_figure(figures):
    stages = [figures.decode_us, figures.cut_us, figures.copy_us, figures.image_us, figures.decide_us]
    assert min(stages) > 0
    assert figures.memory_kib > 0
    assert figures.devices == min(figures.loop_devices, figures.model_devices) > 0


def test_the_fastest_in_batches_is_chosen_of_those_that_leave_a_core_for_the_rest(figures):
    best = min(figures.tried, key=lambda each: each.batch_ms)
    assert figures.best == best
    assert figures.way == Way(threads=best.threads, arithmetic=best.arithmetic)
    assert figures.tried[0].threads == 1


def test_a_model_without_integers_is_run_in_floating_point_alone(figures):
    assert {each.arithmetic for each in figures.tried} == {"float"}


def trial(arithmetic, batch_ms, threads=1):
    return Trial(threads, arithmetic, one_ms=9.0, one_p99_ms=9.0, batch_ms=batch_ms)


def test_floating_point_is_chosen_only_where_it_is_clearly_faster_than_integers():
    slow, fast = trial("integer", 1.0), trial("integer", 0.6, threads=2)
    assert choose([slow, fast, trial("float", 0.58)]) == fast
    assert choose([slow, fast, winner := trial("float", 0.5)]) == winner
    assert choose([slow, winner := trial("integer", 0.9)]) == winner


def test_the_table_tells_what_was_chosen_and_what_is_not_in_it(figures):
    table = bench.table(figures)
    assert f"{figures.arithmetic}, {figures.threads} thread" in next(
        line for line in table.splitlines() if "chosen" in line
    )
    assert "broker and network are not included" in table
    assert figures.machine in table


def test_the_command_prints_one_object_a_bundle_and_remembers_the_choice(
    figures, tmp_path, capsys, monkeypatch
):
    path = tiny_bundle(tmp_path / "tiny.onnx")
    remembered = {}
    monkeypatch.setattr(bench, "measure", lambda loaded: figures)
    monkeypatch.setattr(runtime, "remember", lambda sha256, way: remembered.update({sha256: way}))

    assert cli.main(["bench", "--json", str(path)]) == 0

    (told,) = json.loads(capsys.readouterr().out)
    assert told["devices"] == figures.devices
    assert remembered == {figures.bundle_sha256: figures.way}


def test_several_bundles_are_compared_line_by_line(figures, tmp_path, capsys, monkeypatch):
    path = str(tiny_bundle(tmp_path / "tiny.onnx"))
    monkeypatch.setattr(bench, "measure", lambda loaded: figures)
    monkeypatch.setattr(runtime, "remember", lambda sha256, way: None)

    assert cli.main(["bench", path, path]) == 0

    *_, first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.split()[0] == figures.bundle
    assert first.endswith(f" {figures.devices}")
