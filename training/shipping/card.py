"""The model card: what the model is for, how well it does on people it never saw, and where it fails."""

from __future__ import annotations

from collections.abc import Sequence

from training.experiment import Decisions, Exportable
from training.judging.evaluate import Figures, Judgement, table
from training.student import RESNET18_WIDTH, Student, multiply_adds, parameters

_POOR_F1 = 0.6

_CARD = """\
# {name} ({precision})

Tells {labels} activities apart from a wrist's acceleration: a window of {window_s:g} s every {hop_s:g} s.
A ResNet18{width} that reads Gramian Angular Fields, {taught_by}.
It has {parameters:.2f} million parameters; a window costs {multiply_adds:.1f} million multiply-adds.

## Data

{data}

Subjects learned from: {train}. Subjects who chose the temperature and the thresholds: {validation}
({validation_subjects}). Subjects judged below, who chose nothing: {test} ({test_subjects}). The last epoch
was taken, not the best.

## Figures, test subjects

| | accuracy | macro-F1 | calibration error (ECE) |
|---|---|---|---|
| single windows | {windows.accuracy:.3f} | {windows.macro_f1:.3f} | {windows.ece:.3f} |
| {smoothing} | {smoothed.accuracy:.3f} | {smoothed.macro_f1:.3f} | {smoothed.ece:.3f} |

Single windows by subject: {worst_subject:.3f} to {best_subject:.3f}.
{unknown:.1%} of the windows, smoothed, would be called unknown. All of this is within recordings of
one activity each, where smoothing is at its best: how soon a change from one to the next is told, and
how often too many are, tells `vskd-train evaluate --stream`.

By label, {smoothing}, none called unknown:

{table}

## Where it fails

{failures}
- {strangers}
- Not a medical device, and not tested on falls.
"""


_STRANGERS = {
    True: "It knows these activities and no other. Most of what is unlike all of them becomes `unknown`; "
    "the rest gets a wrong name, with confidence.",
    False: "It knows these activities and no other. Unsure windows become `unknown`, but the thresholds "
    "were set on known activities: something else may well get a wrong name with confidence.",
}
"""By whether the bundle knows how like what was learned a window is."""


def smoothing_of(decisions: Decisions) -> str:
    """How votes are smoothed, in words for a table."""
    means = {"mean": "mean of", "path": "likeliest path through"}
    return f"{means[decisions.smoothing]} {decisions.smoothing_windows} windows"


def write_card(
    experiment: Exportable,
    student: Student,
    *,
    precision: str,
    test: Judgement,
    learned: Sequence[str],
    chose: Sequence[str],
) -> str:
    """Markdown, of how the model came to be and how it does on the test subjects.

    Args:
        experiment: What was trained.
        student: What came of it; only its size is told.
        precision: Of the bundle.
        test: Figures of who judges.
        learned: Subjects learned from.
        chose: Subjects who chose temperature and thresholds.
    """
    smoothed, subjects = test.smoothed, test.subjects
    signal, image, sources = experiment.signal, experiment.image, experiment.sources.values()
    narrowed = student.width / RESNET18_WIDTH
    return _CARD.format(
        name=experiment.name,
        precision=precision,
        labels=len(experiment.labels),
        window_s=signal.window_s,
        hop_s=signal.hop_samples / signal.sampling_rate_hz,
        data="\n\n".join(f"{source.attribution} Licence: {source.licence}." for source in sources),
        taught_by=experiment.taught_by,
        width="" if narrowed == 1.0 else f" of {narrowed:.3g} times the width",
        parameters=parameters(student) / 1e6,
        multiply_adds=multiply_adds(student, shape=image.shape) / 1e6,
        train=len(learned),
        validation=len(chose),
        validation_subjects=", ".join(chose),
        test=len(subjects),
        test_subjects=", ".join(subjects),
        windows=test.windows,
        smoothed=smoothed,
        smoothing=smoothing_of(experiment.decisions),
        worst_subject=min(subjects.values()),
        best_subject=max(subjects.values()),
        unknown=test.unknown,
        table=table(smoothed),
        strangers=_STRANGERS[experiment.export.familiar_windows is not None],
        failures="\n".join([*_failures(smoothed), *(limit for source in sources for limit in source.limits)]),
    )


def _failures(figures: Figures) -> list[str]:
    """An item for each label that is told badly, worst first."""
    poor = [(f.f1, label, f) for label, f in figures.labels.items() if f.windows and f.f1 < _POOR_F1]
    return [
        f"- `{label}`: F1 {f1:.2f}; {f.recall:.0%} of it is found"
        + (f", and it is most often taken for `{f.most_often_taken_for}`." if f.most_often_taken_for else ".")
        for f1, label, f in sorted(poor, key=lambda item: item[:2])
    ]
