"""An experiment is one file: checked whole, hashed by what the weights depend on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.training import toys
from training import experiment as experiments
from training import folds, trial_experiment
from training.teachers import experiment as teachers
from vskd_stream.errors import ConfigError

CONFIGS = [path for path in sorted(toys.SMOKE.parent.glob("*.yaml")) if not folds.is_study(path)]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_experiment_loads_and_bears_its_files_name(path: Path) -> None:
    if "-teacher" in path.stem:
        assert teachers.load(path).name == path.stem
    elif trial_experiment.is_one(path):
        assert trial_experiment.load(path).name == path.stem
        for variant in yaml.safe_load(path.read_text()).get("variants") or {}:
            trial_experiment.load(path, variant=variant)
    else:
        assert experiments.load(path).name == path.stem


def changed(tmp_path: Path, **sections: object) -> Path:
    document = yaml.safe_load(toys.SMOKE.read_text())
    for name, section in sections.items():
        document[name] = document.get(name, {}) | section if isinstance(section, dict) else section
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_every_problem_is_named_with_its_place(tmp_path: Path) -> None:
    path = changed(tmp_path, fit={"epochs": 0, "epoch": 3}, seed=-1)
    with pytest.raises(ConfigError) as caught:
        experiments.load(path)
    places = sorted(problem.split(":")[0] for problem in caught.value.problems)
    assert places == ["fit.epoch", "fit.epochs", "seed"]


def test_a_subject_on_two_sides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one side only"):
        experiments.load(changed(tmp_path, split={"test": ["5", "1"]}))


@pytest.mark.parametrize(
    ("decisions", "complaint"),
    [
        ({"coarse": {"flying": "moving"}}, "decisions.coarse names"),
        ({"hold_s": {"flying": 1.0}}, "decisions.hold_s names"),
        ({"smoothing": "path", "change_cost": -1.0}, "change_cost"),
        ({"smoothing_windows": 0}, "smoothing_windows"),
        ({"not_worn": {"below_g": 1.0, "for_s": 60.0}}, "below_g"),
    ],
)
def test_decisions_that_no_manifest_could_hold_are_refused(
    tmp_path: Path, decisions: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        experiments.load(changed(tmp_path, decisions=decisions))


@pytest.mark.parametrize(
    ("label", "complaint"), [("flying", "export.hanging names 'flying'"), ("walking", r"windows of 2\.8 s")]
)
def test_arms_hang_in_a_known_label_and_in_windows_that_show_a_walk(
    tmp_path: Path, label: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        experiments.load(changed(tmp_path, export={"hanging": label}))


@pytest.mark.parametrize("text", ["", "[1, 2]", "name: [", "\x00"])
def test_a_file_that_is_no_experiment_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"experiment\.yaml: \d+ problem"):
        experiments.load(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        experiments.load(tmp_path / "none.yaml")


def test_the_identity_changes_with_what_the_weights_depend_on_and_with_nothing_else(tmp_path: Path) -> None:
    identity = toys.smoke_experiment().identity
    assert experiments.load(changed(tmp_path, decisions={"switch_after_s": 4.0})).identity == identity
    assert experiments.load(changed(tmp_path, export={"golden_windows": 1})).identity == identity
    assert experiments.load(changed(tmp_path, seed=2)).identity != identity
    assert experiments.load(changed(tmp_path, fit={"epochs": 9})).identity != identity
    assert experiments.load(changed(tmp_path, signal={"hop_samples": 5})).identity != identity


@pytest.mark.parametrize(
    ("part", "changes", "complaint"),
    [
        ("decisions", {"coarse": "taxonomy"}, "the taxonomy knows nothing of this data set"),
        ("export", {"familiar_windows": 512}, "are of recordings, not of trials"),
    ],
)
def test_whole_trials_have_neither_taxonomy_nor_strangers(
    tmp_path: Path, part: str, changes: dict[str, object], complaint: str
) -> None:
    document = yaml.safe_load((toys.SMOKE.parent / "utd-mhad-smoke.yaml").read_text())
    document[part] |= changes
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match=complaint):
        trial_experiment.load(path)


def test_the_card_says_who_taught(tmp_path: Path) -> None:
    assert toys.smoke_experiment().taught_by == "taught from labels alone (no camera teacher)"
    taught = experiments.load(changed(tmp_path, teacher={"runs": ["a", "b"]}))
    assert "the mean answer of 2 others" in taught.taught_by
    taught = experiments.load(changed(tmp_path, teacher={"bundle": "wrist", "sha256": "ab" * 32}))
    assert "the bundle wrist, SHA-256 abababababab" in taught.taught_by


def test_a_student_of_before_there_were_stems_is_still_the_same_one(tmp_path: Path) -> None:
    identity = toys.smoke_experiment().identity
    assert experiments.load(changed(tmp_path, student={"stem": "wide"})).identity == identity
    assert experiments.load(changed(tmp_path, student={"stem": "narrow"})).identity != identity


def test_a_teacher_is_either_runs_or_a_bundle(tmp_path: Path) -> None:
    both = {"runs": ["a"], "bundle": "wrist", "sha256": "ab" * 32}
    with pytest.raises(ConfigError, match="teacher"):
        experiments.load(changed(tmp_path, teacher=both))
