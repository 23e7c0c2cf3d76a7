"""Figures that a comparison rests on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from training.compare import Entry, paired, summarise


def test_an_entry_is_a_method_perhaps_in_a_variant() -> None:
    assert Entry.parse("kd") == Entry("kd")
    assert Entry.parse("kd+queue@narrow") == Entry("kd+queue", "narrow")
    assert str(Entry.parse("kd@narrow")) == "kd@narrow"


@pytest.mark.parametrize("seed", range(5))
def test_the_paired_test_is_the_exact_sign_test_over_trials(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours = [rng.random(80) < 0.8 for _ in range(3)]
    theirs = [rng.random(80) < 0.6 for _ in range(3)]
    found = paired(ours, theirs)
    difference = np.sum(ours, axis=0) - np.sum(theirs, axis=0)
    won, lost = int((difference > 0).sum()), int((difference < 0).sum())
    assert (found["won"], found["lost"]) == (won, lost)
    assert found["p"] == pytest.approx(binomtest(won, won + lost).pvalue)
    assert found["difference"] == pytest.approx(np.mean(ours) - np.mean(theirs))


def test_methods_that_answer_alike_do_not_differ() -> None:
    same = [np.array([True, False, True])]
    assert paired(same, same) == {"difference": 0.0, "won": 0, "lost": 0, "p": 1.0}


def test_a_table_has_no_figure_of_wrists_where_the_sensor_was_on_none_and_names_every_teacher(
    tmp_path: Path,
) -> None:
    taught_by = [{"run": "eyes", "outputs_sha256": digest, "accuracy": 0.9} for digest in ("ab", "ab", "cd")]
    for seed, teacher in enumerate(taught_by, start=1):
        run = tmp_path / "runs" / "toy" / f"kd-{seed}"
        run.mkdir(parents=True)
        found = {
            "seed": seed,
            "budget": "b",
            "teacher": teacher,
            "test": {"accuracy": 0.5, "macro_f1": 0.4},
            "wrist_accuracy": None,
            "answers": [0, 1],
            "truth": [0, 0],
        }
        (run / "metrics.json").write_text(json.dumps(found))
    target = tmp_path / "toy.json"
    summarise(target, runs=tmp_path / "runs", name="toy", config=Path("toy.yaml"))
    row = json.loads(target.read_text())["methods"]["kd"]
    assert "wrist_accuracy" not in row
    assert row["accuracy"]["mean"] == 0.5
    assert row["teachers"] == [taught_by[0], taught_by[2]]
