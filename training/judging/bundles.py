"""An experiment's bundles, judged on stretches of windows through the serving path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from training.experiment import Exportable
from training.judging.evaluate import Judgement, judge, predict
from training.shipping.export import PRECISIONS, Precision, bundle_path
from training.windows import Stretch
from vskd_stream.bundle import load
from vskd_stream.classify import Classifier
from vskd_stream.manifest import Manifest


class Judged(NamedTuple):
    """One bundle."""

    precision: Precision
    manifest: Manifest
    judgement: Judgement
    identity: dict[str, Any]
    """What a file of figures says of the bundle itself."""


def judged_bundles(experiment: Exportable, stretches: Sequence[Stretch], *, run: Path) -> Iterator[Judged]:
    """Each of the bundles in ``run``; ``BundleError`` if one is missing or damaged."""
    for precision in PRECISIONS:
        path = bundle_path(experiment, precision, run=run)
        bundle = load(path)
        manifest = bundle.manifest
        classifier = Classifier(bundle, threads=experiment.fit.threads)
        judgement = judge(
            predict(classifier.classify, stretches),
            labels=manifest.labels,
            decision=manifest.decision,
            signal=experiment.signal,
        )
        identity = {
            "bundle_sha256": bundle.sha256,
            "bundle_bytes": path.stat().st_size,
            "temperature": manifest.temperature,
        }
        yield Judged(precision, manifest, judgement, identity)
