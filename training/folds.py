"""A study: one experiment on several divisions of the people, each trained afresh and judged once.

``vskd-train folds --config configs/train/STUDY.yaml --data DIR`` goes on wherever it stopped: a fold that
has been judged is not run again, and one in the middle of learning resumes after its last whole epoch.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, model_validator

from training.collection import Collection
from training.datasets import Recording
from training.datasets.splits import Side
from training.documents import Frozen, merged, problems_named, read
from training.experiment import Experiment
from training.judging.evaluate import Figures, coarse_level, measure, predict, summed
from training.networks import Network, told
from training.shipping.calibrate import softmax, temperature
from training.windows import Stretch, cut
from vskd_stream.errors import ConfigError

Train = Callable[[Experiment, Path, Path], Network]
"""Teach an experiment's student on the data in a folder, or finish that; the run's folder keeps it."""


class BySubject(Frozen):
    """Everybody is tested once, in groups drawn at random."""

    kind: Literal["subjects"]
    folds: int = Field(ge=2, le=100)
    """As many as there are people: leave one subject out."""
    validation: int = Field(ge=0, le=50)
    """How many of those left choose the temperature; if none, it stays 1."""
    seed: int = Field(default=0, ge=0)

    def splits(self, subjects: Sequence[str]) -> dict[str, dict[str, list[str]]]:
        """Each fold's name and who is on which side; a function of the names and the seed."""
        order = [sorted(subjects)[i] for i in np.random.default_rng(self.seed).permutation(len(subjects))]
        groups = [order[fold :: self.folds] for fold in range(self.folds)]
        splits = {}
        for fold, test in enumerate(groups):
            # The next ones in the circle, so that everybody validates about equally often.
            left = [subject for group in (*groups[fold + 1 :], *groups[:fold]) for subject in group]
            splits[f"fold{fold + 1}"] = _sides(left[self.validation :], left[: self.validation], test)
        return splits


class ByDataset(Frozen):
    """Each data set named is tested by a model that learned from all others: another watch altogether."""

    kind: Literal["datasets"]
    test: tuple[str, ...] = Field(min_length=1)
    validation: int = Field(ge=1, le=50)
    """How many people of the sets that are learned from choose the temperature."""
    only_judged: tuple[str, ...] = ()
    """Sets that no model learns from: their terms do not speak of models."""
    seed: int = Field(default=0, ge=0)

    def splits(self, subjects: Sequence[str]) -> dict[str, dict[str, list[str]]]:
        """Each set's name and who is on which side."""
        splits = {}
        for name in self.test:
            test = [subject for subject in subjects if subject.startswith(f"{name}/")]
            apart = tuple(f"{each}/" for each in (name, *self.only_judged))
            left = sorted(subject for subject in subjects if not subject.startswith(apart))
            order = [left[i] for i in np.random.default_rng(self.seed).permutation(len(left))]
            splits[name] = _sides(order[self.validation :], order[: self.validation], test)
        return splits


class Study(Frozen):
    """Version 1 of a study file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    scheme: Annotated[BySubject | ByDataset, Field(discriminator="kind")]
    seeds: tuple[int, ...] = Field(min_length=1)
    variants: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,15}$")], dict[str, Any]] = Field(
        default={"as-is": {}}
    )
    """What each one changes in the experiment, section by section. In ``teacher.runs``, {fold} and {seed}
    stand for those of the run at hand."""
    experiment: dict[str, Any]
    """As in an experiment's file, without name, seed and split."""

    @model_validator(mode="after")
    def _known_sets(self) -> Self:
        if isinstance(self.scheme, ByDataset):
            named = {*self.scheme.test, *self.scheme.only_judged}
            if strange := sorted(named - {prefix.rstrip("/") for prefix in self.dataset.sources}):
                raise ValueError(f"scheme names {strange}, which are none of the data sets")
        return self

    @property
    def dataset(self) -> Collection:
        """What all variants learn from, unless they say otherwise."""
        found: Collection = TypeAdapter(Collection).validate_python(self.experiment.get("dataset"))
        return found

    def experiments(
        self, subjects: Sequence[str], *, only: Sequence[str] = ()
    ) -> Iterator[tuple[str, str, int, Experiment]]:
        """Variant, fold, seed and experiment of each run (of the variants in ``only``, if any)."""
        for variant, changes in self.variants.items():
            if only and variant not in only:
                continue
            for seed in self.seeds:
                for fold, split in self.scheme.splits(subjects).items():
                    name = f"{self.name}.{variant}.{fold}.{seed}"
                    document = merged(self.experiment, changes)
                    document |= {"name": name, "seed": seed, "split": split}
                    if "runs" in document.get("teacher", {}):
                        # Taught by those who learned from the same people, and from nobody else.
                        runs = [each.format(fold=fold, seed=seed) for each in document["teacher"]["runs"]]
                        document["teacher"] = document["teacher"] | {"runs": runs}
                    yield variant, fold, seed, Experiment.model_validate(document)


def _sides(train: list[str], validation: list[str], test: list[str]) -> dict[str, list[str]]:
    return {"train": train, "validation": validation, "test": test}


def is_study(path: Path) -> bool:
    """Whether a file in configs/train/ is a study rather than one experiment."""
    try:
        document = read(path)
    except ConfigError:
        return False
    return isinstance(document, dict) and "scheme" in document


def load(path: Path) -> Study:
    """Read a study; ``ConfigError`` names every problem, those of its experiments included."""
    document = read(path)
    with problems_named(path):
        study = Study.model_validate(document)
        # With made-up people: whether each variant is an experiment at all is told before hours of training.
        prefixes = list(study.dataset.sources)
        people = [f"{prefix}{number}" for prefix in prefixes for number in range(100)]
        for _ in study.experiments(people):
            pass
    return study


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one fold's model says of the people it never saw; single windows."""

    logits: NDArray[np.float32]
    """(w, labels), already divided by the temperature."""
    truth: NDArray[np.int64]
    subjects: NDArray[np.str_]
    """(w,) whose window it is."""


def run(
    study: Study,
    *,
    data: Path,
    runs: Path,
    train: Train,
    only: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train and judge every fold that has not been judged yet; all figures, ready for JSON."""
    subjects = sorted({recording.subject for recording in study.dataset.recordings(data)})
    todo = list(study.experiments(subjects, only=only))
    outcomes: dict[str, dict[tuple[str, int], Outcome]] = {}
    labels: dict[str, tuple[Sequence[str], dict[str, str]]] = {}
    for number, (variant, fold, seed, experiment) in enumerate(todo, start=1):
        folder = runs / study.name / variant / f"{fold}-seed{seed}"
        say(f"[{number}/{len(todo)}] {variant}, {fold}, seed {seed}")
        outcome = _outcome(experiment, folder, data=data, train=train)
        outcomes.setdefault(variant, {})[fold, seed] = outcome
        labels[variant] = (experiment.labels, experiment.coarse)
        say("    " + _line(judged(outcome, *labels[variant])))
    return {
        "study": study.model_dump(mode="json"),
        "command": f"vskd-train folds --config configs/train/{study.name}.yaml --data DIR",
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "processor": platform.machine(),
        "variants": {variant: _summary(found, *labels[variant]) for variant, found in outcomes.items()},
    }


def judged(outcome: Outcome, labels: Sequence[str], coarse: Mapping[str, str]) -> dict[str, Figures]:
    """Figures at the fine and at the coarse level."""
    probabilities = softmax(outcome.logits)
    to, kinds = coarse_level(labels, coarse)
    return {
        "fine": measure(probabilities, outcome.truth, labels),
        "coarse": measure(summed(probabilities, to), to[outcome.truth], kinds),
    }


def _summary(
    found: Mapping[tuple[str, int], Outcome], labels: Sequence[str], coarse: Mapping[str, str]
) -> dict[str, Any]:
    """Of every fold, and of all people together by seed."""
    summary: dict[str, Any] = {"folds": {}, "seeds": {}, "subjects": {}}
    for (fold, seed), outcome in found.items():
        figures = judged(outcome, labels, coarse)
        summary["folds"][f"{fold}, seed {seed}"] = {level: _brief(each) for level, each in figures.items()}
        right = outcome.logits.argmax(1) == outcome.truth
        for subject in np.unique(outcome.subjects):
            mean = float(right[outcome.subjects == subject].mean())
            summary["subjects"].setdefault(str(subject), []).append(mean)
    for seed in dict.fromkeys(seed for _, seed in found):
        parts = [outcome for (_, of), outcome in found.items() if of == seed]
        pooled = Outcome(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.truth for part in parts]),
            np.concatenate([part.subjects for part in parts]),
        )
        summary["seeds"][str(seed)] = {
            level: asdict(each) for level, each in judged(pooled, labels, coarse).items()
        }
    return summary


def _brief(figures: Figures) -> dict[str, float]:
    return {
        "windows": figures.windows,
        "accuracy": figures.accuracy,
        "macro_f1": figures.macro_f1,
        "ece": figures.ece,
    }


def _line(figures: Mapping[str, Figures]) -> str:
    return (
        "; ".join(
            f"{level} accuracy {each.accuracy:.4f}, macro-F1 {each.macro_f1:.4f}, ECE {each.ece:.4f}"
            for level, each in figures.items()
        )
        + f"; {figures['fine'].windows} windows"
    )


def _outcome(experiment: Experiment, folder: Path, *, data: Path, train: Train) -> Outcome:
    done = folder / f"outcome-{hashlib.sha256(experiment.identity.encode()).hexdigest()[:12]}.npz"
    if done.exists():
        with np.load(done, allow_pickle=False) as kept:
            return Outcome(kept["logits"], kept["truth"], kept["subjects"])
    student = train(experiment, data, folder)
    outcome = test(experiment, student, experiment.recordings(data))
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "outcome.partial"
    with partial.open("wb") as file:
        np.savez(file, logits=outcome.logits, truth=outcome.truth, subjects=outcome.subjects)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(done)
    return outcome


def test(experiment: Experiment, network: Network, recordings: Sequence[Recording]) -> Outcome:
    """Judge on the test subjects, in the classes that were learned; validation chooses the temperature."""

    def logits(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return told(network, windows, image=experiment.image)[0]

    learned = {each.label for each in experiment.split.select(recordings, "train")}

    def scored(side: Side) -> tuple[NDArray[np.float32], NDArray[np.int64], list[Stretch]]:
        chosen = [each for each in experiment.split.select(recordings, side) if each.label in learned]
        stretches = cut(chosen, experiment.signal)
        return *predict(logits, stretches).pooled(), stretches

    divisor = temperature(*scored("validation")[:2]) if experiment.split.validation else 1.0
    on_test, truth, stretches = scored("test")
    subjects = np.concatenate([np.full(len(each.windows), each.subject) for each in stretches])
    return Outcome((on_test / divisor).astype(np.float32), truth, subjects)
