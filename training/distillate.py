"""A finished bundle teaches a smaller student: its answer to the very same windows stands beside the labels.

Hinton, Vinyals and Dean (2015); that teacher and student see one and the same augmented window, for long, is
Beyer et al., "Knowledge distillation: A good teacher is patient and consistent" (2022). The teacher is asked
as the daemon asks it, so nothing but the file is needed, and its images may be others than the student's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from training.fit import FitError
from training.supervised import Advised
from vskd_stream.bundle import load, resolve
from vskd_stream.classify import Classifier

if TYPE_CHECKING:
    from training.experiment import BundleChoice, Experiment
    from vskd_stream.manifest import Manifest

_TINY = 1e-6
"""Probabilities under this are rounding: their logarithms would be most of what is learned."""


class Distillate(Advised):
    """Labels, and the probabilities of a teacher that is not here."""

    def forward(self, images: Tensor, labels: Tensor, told: Tensor | None = None) -> dict[str, Tensor]:
        """As ``Supervised``, advised by what was told.

        Args:
            images: (b, channels, h, w) in [-1, 1].
            labels: (b,) int64.
            told: (b, classes) the teacher's probabilities; None: labels alone.
        """
        result = super().forward(images, labels)
        return result if told is None else self.advised(result, told.clamp_min(_TINY).log())


def teacher(experiment: Experiment, choice: BundleChoice) -> Classifier:
    """The bundle that the experiment names, ready to be asked.

    Raises:
        BundleError: There is none, or it is another.
        FitError: It cannot teach this student.
    """
    path = resolve(choice.bundle)
    loaded = load(path, sha256=choice.sha256)
    manifest = loaded.manifest
    signal = experiment.signal
    for what, its, ours in (
        ("other labels", manifest.labels, experiment.labels),
        ("another sampling rate", manifest.sampling_rate_hz, signal.sampling_rate_hz),
        ("windows of another length", manifest.window_samples, signal.window_samples),
    ):
        if its != ours:
            raise FitError(f"teacher {path} has {what} than its student: {its}, not {ours}")
    if strangers := _strangers(manifest, experiment):
        raise FitError(f"teacher {path} learned from {strangers}, from whom the student must not")
    return Classifier(loaded, threads=experiment.fit.threads)


def _strangers(manifest: Manifest, experiment: Experiment) -> list[str]:
    prefixes = {source.name: prefix for prefix, source in experiment.sources.items()}
    return sorted(
        name
        for dataset in manifest.trained_on
        for subject in dataset.subjects
        if (name := prefixes.get(dataset.name, f"{dataset.name}/") + subject) not in experiment.split.train
    )
