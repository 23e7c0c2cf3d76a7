"""Which recordings are learned from: one data set with its own labels, or several that share a taxonomy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from training import taxonomy
from training.datasets import Recording, Source, dsads, geotec, mex, spar, weda, wisdm
from training.documents import Frozen

Kind = Literal["wisdm", "dsads", "geotec", "mex", "spar", "weda"]

_JOINED_S = 0.1


@dataclass(frozen=True, slots=True)
class Loader:
    """How a data set is read, and what it is."""

    source: Source
    load: Callable[[Path], list[Recording]]


LOADERS: dict[Kind, Loader] = {
    "wisdm": Loader(wisdm.SOURCE, wisdm.load),
    "dsads": Loader(dsads.SOURCE, dsads.load),
    "geotec": Loader(geotec.SOURCE, geotec.load),
    "mex": Loader(mex.SOURCE, mex.load),
    "spar": Loader(spar.SOURCE, spar.load),
    "weda": Loader(weda.SOURCE, weda.load),
}


class OneSet(Frozen):
    """One data set, with its own labels and subjects."""

    kind: Kind
    file: str = Field(min_length=1)
    """Its name in the folder given with --data."""
    leave_out: tuple[str, ...] = ()
    """Labels that are not learned: strangers, to see whether the model knows what it does not know."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        _check("leave_out", self.leave_out, LOADERS[self.kind].source.labels)
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of ``Recording.label``."""
        return tuple(label for label in LOADERS[self.kind].source.labels if label not in self.leave_out)

    @property
    def coarse(self) -> dict[str, str]:
        """What the taxonomy says each label is a kind of, where it knows."""
        meaning = taxonomy.MEANING[self.kind]
        return {label: taxonomy.COARSE_OF[name] for label in self.labels if (name := meaning[label])}

    @property
    def sources(self) -> dict[str, Source]:
        """By the prefix of its subjects' names."""
        return {"": LOADERS[self.kind].source}

    @property
    def weights(self) -> dict[str, float]:
        """How often a window of a label is drawn from a data set, relative to the others that have it."""
        return {}

    @property
    def often(self) -> dict[int, float]:
        """How often a label is drawn, relative to the others; 1 if absent."""
        return {}

    def recordings(self, folder: Path, *, left_out: bool = False) -> list[Recording]:
        """All recordings of the labels that are learned, or (labelled -1) of those that are not.

        Raises:
            DatasetError: The data set is missing or damaged.
        """
        loader = LOADERS[self.kind]
        names = loader.source.labels
        return _relabelled(
            loader.load(folder / self.file),
            [self.labels.index(name) if name in self.labels else None for name in names],
            left_out=left_out,
        )


class SetFile(Frozen):
    """A data set, and where it lies."""

    kind: Kind
    file: str = Field(min_length=1)
    """Its name in the folder given with --data."""


class Elsewhere(SetFile):
    """A set that only judges."""

    never: tuple[str, ...] = ()
    """Merged labels of what its people never do, as a wearer's may be told to the daemon: it is judged
    both without knowing that and with it."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        _check("never", self.never, taxonomy.NAMES)
        return self


class WeightedSet(SetFile):
    """One of several data sets."""

    weight: float = Field(default=1.0, gt=0.0, le=100.0)
    """How often a window of a label is drawn from here, relative to the other sets that have the label."""


class SeveralSets(Frozen):
    """Several data sets, their labels merged by the taxonomy; a subject's name is ``kind/name``."""

    kind: Literal["merged"]
    sets: tuple[WeightedSet, ...] = Field(min_length=1)
    leave_out: tuple[str, ...] = ()
    """Merged labels that are not learned."""
    # Left out where it is what all runs had before there was a choice.
    prior: dict[str, Annotated[float, Field(gt=0.0, le=100.0)]] = Field(
        default_factory=dict, exclude_if=lambda prior: not prior
    )
    """How often a merged label is drawn, relative to the others; 1 if absent. In doubt a model tells what it
    has seen more often, and people walk more than they kick balls."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if len({each.kind for each in self.sets}) != len(self.sets):
            raise ValueError("a data set is named twice")
        _check("leave_out", self.leave_out, taxonomy.NAMES)
        _check("prior", self.prior, taxonomy.NAMES)
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """In the taxonomy's order: what some set has."""
        had = {name for each in self.sets for name in taxonomy.MEANING[each.kind].values()}
        return tuple(name for name in taxonomy.NAMES if name in had and name not in self.leave_out)

    @property
    def coarse(self) -> dict[str, str]:
        """The taxonomy's coarse level."""
        return {label: taxonomy.COARSE_OF[label] for label in self.labels}

    @property
    def sources(self) -> dict[str, Source]:
        """By the prefix of its subjects' names."""
        return {f"{each.kind}/": LOADERS[each.kind].source for each in self.sets}

    @property
    def weights(self) -> dict[str, float]:
        """By ``Recording.dataset``."""
        return {each.kind: each.weight for each in self.sets}

    @property
    def often(self) -> dict[int, float]:
        """See ``prior``, by the place in ``labels``."""
        return {i: self.prior[label] for i, label in enumerate(self.labels) if label in self.prior}

    def recordings(self, folder: Path, *, left_out: bool = False) -> list[Recording]:
        """As ``OneSet.recordings``, of all sets; where a person goes on with what merges, that is one."""
        found = []
        for each in self.sets:
            loader = LOADERS[each.kind]
            meaning = taxonomy.MEANING[each.kind]
            merged = [meaning[own] for own in loader.source.labels]
            # What the taxonomy leaves out is neither learned nor a stranger: it is of no class.
            classes = [self.labels.index(name) if name in self.labels else None for name in merged]
            recordings = [
                replace(recording, subject=f"{each.kind}/{recording.subject}", dataset=each.kind)
                for recording in loader.load(folder / each.file)
                if merged[recording.label] is not None
            ]
            found += joined(_relabelled(recordings, classes, left_out=left_out))
        return found


Collection = Annotated[OneSet | SeveralSets, Field(discriminator="kind")]


def joined(recordings: Sequence[Recording]) -> list[Recording]:
    """Recordings of which no two go on where the one before stops, with the same label and person."""
    runs = [[recording] for recording in recordings[:1]]
    for before, after in pairwise(recordings):
        is_same = (before.subject, before.label) == (after.subject, after.label)
        if is_same and 0.0 < after.t_s[0] - before.t_s[-1] < _JOINED_S:
            runs[-1].append(after)
        else:
            runs.append([after])
    return [
        replace(
            run[0],
            t_s=np.concatenate([recording.t_s for recording in run]),
            acc_g=np.concatenate([recording.acc_g for recording in run]),
        )
        for run in runs
    ]


def _relabelled(
    recordings: Sequence[Recording], classes: Sequence[int | None], *, left_out: bool
) -> list[Recording]:
    found = []
    for recording in recordings:
        label = classes[recording.label]
        if (label is None) == left_out:
            found.append(replace(recording, label=-1 if label is None else label))
    return found


def _check(key: str, named: Iterable[str], labels: Sequence[str]) -> None:
    if strange := sorted(set(named) - set(labels)):
        raise ValueError(f"{key} names {strange}, which are no labels here")
