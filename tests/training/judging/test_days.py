"""Days are stitched as told, and played through the pipeline that serves."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.training import toys
from training import cli
from training.collection import OneSet
from training.judging import days

LABELS = OneSet(kind="wisdm", file=toys.FILE).labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("days")
    toys.write(place, toys.arrays(seconds=60.0))
    return place


def test_a_day_alternates_activities_and_is_a_function_of_the_seed(folder: Path) -> None:
    recordings = OneSet(kind="wisdm", file=toys.FILE).recordings(folder)
    made = days.stitched(recordings, LABELS, table_s=30.0, seed=1)
    again = days.stitched(recordings, LABELS, table_s=30.0, seed=1)
    assert [each.subject for each in made] == list(toys.SUBJECTS)
    for day, same in zip(made, again, strict=True):
        assert np.array_equal(day.t_s, same.t_s)
        assert (np.diff(day.t_s) > 0.0).all()
        assert [each.label for each in day.truth].count("not_worn") == 1
        for one, other in pairwise(day.truth):
            assert one.end_s < other.start_s
        held = sum(each.end_s - each.start_s for each in day.truth)
        assert held == pytest.approx(len(day.t_s) / 20, rel=0.02)


def test_the_commands_judge_days_other_watches_and_strangers(folder: Path) -> None:
    experiment = yaml.safe_load(toys.SMOKE.read_text())
    experiment["decisions"]["not_worn"] = {"below_g": 0.013, "for_s": 10.0}
    experiment["fit"] |= {"epochs": 2, "windows_per_epoch": 256}
    experiment["export"] |= {"golden_windows": 1, "max_int8_loss": 1.0}
    experiment["dataset"]["leave_out"] = ["jogging"]
    experiment["decisions"]["coarse"] = "taxonomy"
    config = folder / "experiment.yaml"
    config.write_text(yaml.safe_dump(experiment))
    common = ["--config", str(config), "--data", str(folder), "--runs", str(folder / "runs")]
    judged = [*common, "--results", str(folder / "results")]
    assert cli.main(["train", *common]) == 0
    assert cli.main(["export", *common]) == 0
    for command in (["evaluate", "--stream"], ["evaluate", "--robustness"], ["unknown"]):
        assert cli.main([*command, *judged]) == 0
    results = {
        path.stem: json.loads(path.read_text(), parse_constant=pytest.fail)
        for path in (folder / "results").glob("*.json")
    }
    stream = results["wrist-wisdm-smoke-stream"]["bundles"]["int8"]["stitched days"]
    assert stream["segments"] > 0
    assert stream["not_worn_told"] > 0.3
    changes = results["wrist-wisdm-smoke-robustness"]["changes"]
    assert changes["as recorded"]["windows"] > 0
    strangers = results["wrist-wisdm-smoke-unknown"]
    scores = strangers["scores"]
    assert set(scores) >= {"energy", "largest probability", "Mahalanobis", "nearest neighbours"}
    assert all(0.0 <= each["AUROC"] <= 1.0 for each in scores.values())
    # The left-out rhythm lies between two that were learned, and far from both.
    assert strangers["bundles"]["int8"]["AUROC"] > 0.9
    assert strangers["bundles"]["int8"]["strangers told as unknown"] > 0.5


def test_executions_are_played_as_recorded_and_nothing_is_demanded_where_nothing_was_learned(
    tmp_path: Path,
) -> None:
    head = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label\n"
    order = ("SEATED", "STANDING_UP", "WALKING", "TURNING", "WALKING", "SITTING_DOWN")
    for number, begin_ms in ((1, 1000), (2, 31_000)):
        path = tmp_path / "DATA" / "s02" / f"s02_{number:02}_sw.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"0,0,9.8,0,0,0,{begin_ms + 10 * i},{order[i // 100]}\n" for i in range(600)]
        path.write_text(head + "".join(rows))
    (day,) = days.executions(tmp_path, ["s02"], ("walking",))
    assert [each.label for each in day.truth] == [None, "walking"] * 2
    assert (day.truth[1].start_s, day.truth[1].end_s) == pytest.approx((1.0, 5.99))
    assert day.truth[2].start_s == pytest.approx(30.0)
    assert (len(day.t_s), day.subject) == (1200, "geotec/s02")
