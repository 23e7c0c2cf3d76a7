"""A study tests everybody once, by models that never saw them, and goes on wherever it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.training import toys
from training import cli, folds
from training.documents import merged
from training.folds import ByDataset, BySubject
from vskd_stream.errors import ConfigError


def study(folder: Path, **changes: Any) -> Path:
    experiment = yaml.safe_load(toys.SMOKE.read_text())
    for name in ("name", "seed", "split"):
        del experiment[name]
    experiment["fit"] |= {"epochs": 2, "windows_per_epoch": 128}
    document = {
        "name": "tiny",
        "scheme": {"kind": "subjects", "folds": 2, "validation": 1},
        "seeds": [1],
        "variants": {
            "plain": {},
            "taught": {"teacher": {"runs": ["tiny/plain/{fold}-seed{seed}"], "weight": 0.5}},
        },
        "experiment": experiment,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(merged(document, changes)))
    return path


@given(st.integers(2, 9), st.integers(1, 3), st.integers(0, 5))
def test_everybody_is_tested_once_and_nobody_is_on_two_sides(count: int, validation: int, seed: int) -> None:
    people = [f"p{i}" for i in range(20)]
    splits = BySubject(kind="subjects", folds=count, validation=validation, seed=seed).splits(people)
    assert sorted(person for split in splits.values() for person in split["test"]) == sorted(people)
    for split in splits.values():
        assert sorted(person for side in split.values() for person in side) == sorted(people)
        assert len(split["validation"]) == validation


def test_a_data_set_is_tested_by_those_who_learned_from_all_others() -> None:
    people = [f"{kind}/{i}" for kind in ("a", "b", "c") for i in range(5)]
    splits = ByDataset(kind="datasets", test=("a", "c"), validation=3).splits(people)
    assert set(splits) == {"a", "c"}
    for name, split in splits.items():
        assert split["test"] == [person for person in people if person.startswith(name)]
        assert not [each for side in ("train", "validation") for each in split[side] if each.startswith(name)]


def test_nobody_learns_from_a_set_that_only_judges() -> None:
    people = [f"{kind}/{i}" for kind in ("a", "b", "c") for i in range(5)]
    without = ByDataset(kind="datasets", test=("a",), validation=3).splits(people[:10])
    splits = ByDataset(kind="datasets", test=("a", "c"), validation=3, only_judged=("c",)).splits(people)
    assert splits["a"] == without["a"]
    assert splits["c"]["test"] == people[10:]
    assert sorted(splits["c"]["train"] + splits["c"]["validation"]) == people[:10]


def test_a_study_runs_once_and_is_taught_by_the_same_folds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toys.write(tmp_path)
    options = ["folds", "--config", str(study(tmp_path)), "--data", str(tmp_path)]
    options += ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert cli.main(options) == 0
    first = (tmp_path / "results" / "tiny.json").read_text()
    assert "epoch 2/2" in capsys.readouterr().out
    found = yaml.safe_load(first)
    assert set(found["variants"]) == {"plain", "taught"}
    assert set(found["variants"]["plain"]["subjects"]) == set(toys.SUBJECTS)
    assert found["variants"]["plain"]["seeds"]["1"]["coarse"]["windows"] > 0
    assert cli.main(options) == 0
    assert "epoch" not in capsys.readouterr().out
    assert (tmp_path / "results" / "tiny.json").read_text() == first


def test_a_teacher_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toys.write(tmp_path)
    options = ["folds", "--config", str(study(tmp_path)), "--data", str(tmp_path), "--variants", "taught"]
    assert cli.main([*options, "--runs", str(tmp_path / "runs")]) == 1
    assert "train it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seeds": []}, "seeds"),
        ({"variants": {"odd": {"fit": {"epochs": 0}}}}, "fit.epochs"),
        ({"scheme": {"kind": "weekdays"}}, "scheme"),
        ({"experiment": {"dataset": {"kind": "nothing"}}}, "nothing"),
    ],
)
def test_a_study_that_cannot_run_is_refused_before_it_begins(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        folds.load(study(tmp_path, **changes))


@pytest.mark.parametrize(
    "scheme", [{"test": ["wisdm", "wedding"]}, {"test": ["wisdm"], "only_judged": ["wedding"]}]
)
def test_a_set_that_the_study_does_not_have_is_named(tmp_path: Path, scheme: dict[str, Any]) -> None:
    sets = {"kind": "merged", "sets": [{"kind": "wisdm", "file": toys.FILE}]}
    path = study(tmp_path, experiment={"dataset": sets})
    document = yaml.safe_load(path.read_text())
    document["scheme"] = {"kind": "datasets", "validation": 1} | scheme
    document["experiment"]["dataset"] = sets
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match=r"scheme names \['wedding'\], which are none of the data sets"):
        folds.load(path)


def test_a_variant_that_is_not_in_the_study_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["folds", "--config", str(study(tmp_path)), "--data", str(tmp_path), "--variants", "other"]
    assert cli.main(options) == 1
    assert "['other'] are not in it" in capsys.readouterr().err
