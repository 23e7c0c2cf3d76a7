"""Several sets become one: every label is defined, nobody is mixed up, and the demo's person is in none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.training import toys
from tests.training.datasets.test_dsads import SHAPE as DSADS_SHAPE
from tests.training.datasets.test_dsads import write as write_dsads
from tests.training.datasets.test_mex import lines
from tests.training.datasets.test_mex import write as write_mex
from training import demo, experiment, folds, taxonomy
from training.collection import LOADERS, OneSet, SeveralSets, joined
from training.datasets import Recording, dsads

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
    of_mex = {(subject, label) for subject, label, kind in told if kind == "mex"}
    assert of_mex == {("mex/03", "floor_exercise"), ("mex/03", "resting")}
    assert sets.weights == {"wisdm": 2.0, "mex": 1.0}


def test_what_is_left_out_is_found_among_the_strangers_and_what_no_label_stands_for_is_not(
    tmp_path: Path,
) -> None:
    toys.write(tmp_path)
    file = write_dsads(tmp_path, np.full(DSADS_SHAPE, 5.0, np.float32)).name
    sets = several(
        leave_out=["running"], sets=[{"kind": "wisdm", "file": toys.FILE}, {"kind": "dsads", "file": file}]
    )
    assert "running" not in sets.labels
    learned, strangers = sets.recordings(tmp_path), sets.recordings(tmp_path, left_out=True)
    of_wisdm = {sets.labels[each.label] for each in learned if each.dataset == "wisdm"}
    assert of_wisdm == {"walking", "standing"}
    assert {(each.label, each.dataset) for each in strangers} == {(-1, "wisdm"), (-1, "dsads")}
    in_a_lift = dsads.SOURCE.labels.index("moving_in_elevator")
    of_dsads = [each.label for each in dsads.load(tmp_path / file) if each.label != in_a_lift]
    assert len(of_dsads) == sum(each.dataset == "dsads" for each in [*learned, *strangers])
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


def test_no_model_that_ships_has_learned_from_the_person_of_the_demo_recording() -> None:
    for name in ("wrist", "wrist-small"):
        split = experiment.load(toys.SMOKE.with_name(f"{name}.yaml")).split
        assert f"wisdm/{demo.SUBJECT}" in split.test


def test_every_person_of_the_shipped_division_exists_and_is_on_one_side(shared_data: Path) -> None:
    loaded = experiment.load(toys.SMOKE.parent / "wrist.yaml")
    people = {each.subject for each in loaded.recordings(shared_data)}
    split = loaded.split
    # Who was heard in the recording that shipped before today's.
    assert {*split.train, *split.validation, *split.test} == people - {"geotec/s16"}


def test_every_study_is_a_study_of_experiments_that_could_run() -> None:
    studies = [folds.load(path) for path in CONFIGS if folds.is_study(path)]
    assert {each.name for each in studies} == {"wisdm-folds", "dsads-loso", "wrist-new-watch"}
