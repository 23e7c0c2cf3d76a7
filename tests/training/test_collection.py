"""Several sets become one: every label is defined, nobody is mixed up, and the demo's person is in none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from tests.training import toys
from tests.training.datasets.test_mex import lines
from tests.training.datasets.test_mex import write as write_mex
from training import demo, experiment, folds, taxonomy
from training.collection import LOADERS, OneSet, SeveralSets, joined
from training.datasets import Recording, geotec

CONFIGS = sorted(toys.SMOKE.parent.glob("*.yaml"))


def several(**changes: object) -> SeveralSets:
    sets = [{"kind": "wisdm", "file": toys.FILE, "weight": 2.0}, {"kind": "mex", "file": "mex"}]
    return SeveralSets.model_validate({"kind": "merged", "sets": sets} | changes)


def test_every_label_of_every_set_stands_for_a_defined_activity_or_for_none() -> None:
    assert set(taxonomy.MEANING) == set(LOADERS)
    for kind, loader in LOADERS.items():
        assert set(taxonomy.MEANING[kind]) == set(loader.source.labels)
        assert {name for name in taxonomy.MEANING[kind].values() if name} <= set(taxonomy.NAMES)
    assert set(taxonomy.COARSE_OF.values()) == set(taxonomy.COARSE)
    assert all(activity.definition.endswith(".") for activity in taxonomy.ACTIVITIES)


def test_the_documentation_defines_them_all() -> None:
    """python -c "from training import taxonomy; print(taxonomy.markdown())" writes the tables."""
    text = (toys.SMOKE.parents[2] / "docs" / "activities.md").read_text()
    assert taxonomy.markdown() in text


def test_labels_are_merged_and_people_keep_apart(tmp_path: Path) -> None:
    toys.write(tmp_path)
    write_mex(tmp_path, lines(900))
    write_mex(tmp_path, lines(900), name="acw/03/02_acw_1.csv")
    sets = several()
    found = sets.recordings(tmp_path)
    told = {(each.subject, sets.labels[each.label], each.dataset) for each in found}
    assert ("wisdm/1", "running", "wisdm") in told
    assert {each for each in told if each[2] == "mex"} == {("mex/03", "floor_exercise", "mex")}
    assert sets.weights == {"wisdm": 2.0, "mex": 1.0}


def test_what_is_left_out_is_found_among_the_strangers_and_what_no_label_stands_for_is_not(
    tmp_path: Path,
) -> None:
    toys.write(tmp_path)
    write_mex(tmp_path, lines(900), name="acw/03/02_acw_1.csv")
    sets = several(leave_out=["running"])
    assert "running" not in sets.labels
    assert {sets.labels[each.label] for each in sets.recordings(tmp_path)} == {"walking", "standing"}
    strangers = sets.recordings(tmp_path, left_out=True)
    assert {(each.label, each.dataset) for each in strangers} == {(-1, "wisdm")}
    one = OneSet(kind="wisdm", file=toys.FILE, leave_out=("jogging",))
    assert "jogging" not in one.labels
    assert len(one.recordings(tmp_path, left_out=True)) == len(toys.SUBJECTS)


@pytest.mark.parametrize(
    "changes",
    [{"leave_out": ["flying"]}, {"sets": [{"kind": "mex", "file": "a"}, {"kind": "mex", "file": "b"}]}],
)
def test_a_collection_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"no labels here|named twice"):
        several(**changes)


def test_what_goes_on_with_one_label_is_joined_and_nothing_else() -> None:
    def recording(start_s: float, label: int, subject: str = "1") -> Recording:
        t_s = start_s + np.arange(10) / 100
        return Recording(subject, label, t_s, np.zeros((10, 3), np.float32), 100.0)

    parts = [recording(0, 1), recording(0.1, 1), recording(0.2, 2), recording(5.0, 2), recording(5.1, 2, "2")]
    assert [len(each.t_s) for each in joined(parts)] == [20, 10, 10, 10]


def test_the_person_of_the_demo_recording_is_never_learned_from(tmp_path: Path) -> None:
    head = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label\n"
    for subject in (demo.SUBJECT, "s02"):
        path = tmp_path / "geotec" / "DATA" / subject / f"{subject}_01_sw.csv"
        path.parent.mkdir(parents=True)
        path.write_text(head + "".join(f"0,0,9.8,0,0,0,{1000 + 10 * i},WALKING\n" for i in range(9)))
    assert {each.subject for each in geotec.load(tmp_path / "geotec")} == {demo.SUBJECT, "s02"}
    assert {each.subject for each in LOADERS["geotec"].load(tmp_path / "geotec")} == {"s02"}
    for path in CONFIGS:
        names = yaml.safe_dump(yaml.safe_load(path.read_text()))
        assert f"geotec/{demo.SUBJECT}" not in names


def test_every_person_of_the_shipped_division_exists_and_is_on_one_side(shared_data: Path) -> None:
    loaded = experiment.load(toys.SMOKE.parent / "wrist.yaml")
    people = {each.subject for each in loaded.recordings(shared_data)}
    split = loaded.split
    assert {*split.train, *split.validation, *split.test} == people


def test_every_study_is_a_study_of_experiments_that_could_run() -> None:
    studies = [folds.load(path) for path in CONFIGS if folds.is_study(path)]
    assert {each.name for each in studies} == {"wisdm-folds", "dsads-loso", "wrist-new-watch"}
