"""The study's streams, measures and rival ways, on small cases that can be told by hand."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.manifests import manifest
from tests.models import tiny_bundle
from tests.training import toys
from training.datasets import Recording
from training.experiment import Signal
from training.judging import smoothing
from training.judging.behaviour import Behaviour, behaviour
from training.judging.smoothing import Study, choose
from training.judging.streams import Stream, score, stitch
from training.judging.ways import Way, forward, mean_of, median_of
from training.shipping.calibrate import MOST
from vskd_stream.bundle import load
from vskd_stream.classify import Classifier
from vskd_stream.events import Decider
from vskd_stream.scores import Scores

SIGNAL = Signal(sampling_rate_hz=20.0, window_samples=40, hop_samples=10, max_gap_s=0.25)


def recording(label: int, *, seconds: float = 10.0, subject: str = "1") -> Recording:
    t_s = np.arange(int(seconds * 20)) / 20.0
    return Recording(subject, label, t_s, np.full((len(t_s), 3), label, np.float32), 20.0)


def stream(*labels: tuple[int, int], sure: float = 0.9) -> Stream:
    """Runs of (label, samples) of two labels, told rightly wherever most of a window is."""
    truth = np.repeat([label for label, _ in labels], [samples for _, samples in labels])
    ends = np.arange(40, len(truth) + 1, 10)
    given = np.array([round(truth[end - 40 : end].mean()) for end in ends])
    rows = np.where(np.arange(2) == given[:, np.newaxis], sure, 1.0 - sure).astype(np.float32)
    return Stream("1", ends, rows, truth)


def judged(streams: list[Stream], **decision: object) -> Behaviour:
    rules = manifest(
        decision={
            "smoothing_windows": 1,
            "switch_after_s": 0.0,
            "update_every_s": 5.0,
            "unknown_below": {"still": 0.0, "moving": 0.0},
            **decision,
        }
    )
    events = []
    for each in streams:
        decider = Decider("wrist", manifest=rules, bundle_sha256="ab" * 32)
        told = [
            event
            for end, row in zip(each.ends.tolist(), each.probabilities, strict=True)
            for event in decider.push(Scores("wrist", end, row))
        ]
        events.append(told + decider.stop())
    return behaviour(streams, events, rules)


def test_recordings_are_joined_in_order_and_each_sample_knows_its_truth() -> None:
    acc_g, truth = stitch([recording(0), recording(1), recording(0)], SIGNAL)["1"]
    assert len(acc_g) == len(truth)
    assert np.array_equal(acc_g[:, 0], truth)
    runs = np.flatnonzero(np.diff(truth))
    assert len(runs) == 2


def test_pieces_are_shuffled_alike_each_time_and_no_activity_follows_itself() -> None:
    recordings = [recording(label, seconds=30.0) for label in (0, 1, 2)]
    one, other = (stitch(recordings, SIGNAL, piece_s=5.0, seed=3)["1"][1] for _ in range(2))
    assert np.array_equal(one, other)
    bounds = np.flatnonzero(np.diff(one)) + 1
    assert set(np.diff([0, *bounds]).tolist()) == {100}


def test_every_window_of_a_stream_is_scored_also_those_that_hold_two_activities() -> None:
    stitched = stitch([recording(0), recording(1)], SIGNAL)
    (scored,) = score(stitched, lambda windows: windows[:, :2, 0], SIGNAL)
    assert scored.ends.tolist() == list(range(40, len(scored.truth) + 1, 10))
    assert len(scored.probabilities) == len(scored.ends)
    assert [label for _, _, label in scored.segments] == [0, 1]


def test_a_stream_that_is_told_rightly_has_one_event_per_segment_and_little_delay() -> None:
    found = judged([stream((0, 400), (1, 400))])
    assert (found.segments, found.events_per_segment, found.found) == (2, 1.0, 1.0)
    assert found.start_error_s == pytest.approx((1.0, 1.0), abs=1.0)
    assert found.delay_s[1] == pytest.approx(2.0, abs=0.5)
    assert found.hindsight_accuracy > found.accuracy > 0.9
    assert found.calibration_error == pytest.approx(0.1, abs=0.01)


def test_flapping_and_doubt_are_counted_as_events() -> None:
    flapping = stream(*[(0, 400)])
    flapping.probabilities[10:30:2] = (0.1, 0.9)
    assert judged([flapping]).events_per_segment == 21
    doubtful = stream((0, 800))
    doubtful.probabilities[20:50] = (0.55, 0.45)
    found = judged([doubtful], unknown_below={"still": 0.6, "moving": 0.6}, unknown_after_s=2.0)
    assert (found.events_per_segment, found.unknown_per_segment) == (3, 1)
    assert found.unknown == pytest.approx((300 - 40) / 800 + 40 / 800, abs=0.03)


def test_a_segment_whose_label_is_never_told_is_not_found() -> None:
    found = judged([stream((0, 400), (1, 30), (0, 400))])
    assert found.found == pytest.approx(2 / 3)


def test_rival_ways_smooth_as_they_say() -> None:
    rows = np.array([[0.9, 0.1], [0.3, 0.7], [0.9, 0.1], [0.9, 0.1]], np.float32)
    assert mean_of(2)(rows)[:, 0] == pytest.approx([0.9, 0.6, 0.6, 0.9])
    assert median_of(3)(rows)[:, 0] == pytest.approx([0.9, 0.6, 0.9, 0.9])


def test_the_forward_algorithm_is_the_sum_over_all_paths() -> None:
    rows = np.random.default_rng(0).dirichlet((1.0, 1.0, 1.0), 4).astype(np.float32)
    beliefs = forward(expected_windows=5.0, weight=1.0)(rows)
    weights = np.zeros(3)
    for path in np.ndindex(3, 3, 3, 3):
        changes = sum(a != b for a, b in pairwise(path))
        emitted = math.prod(float(rows[i, label]) for i, label in enumerate(path))
        weights[path[-1]] += 0.8 ** (3 - changes) * 0.1**changes * emitted
    assert beliefs[-1] == pytest.approx(weights / weights.sum(), abs=1e-6)


def test_the_fewest_events_among_the_accurate_are_chosen() -> None:
    base = judged([stream((0, 400), (1, 400))])

    def tried(name: str, events: float, accuracy: float) -> tuple[Way, Behaviour]:
        values = {field: getattr(base, field) for field in Behaviour.__slots__}
        return Way(name, {}, {}), Behaviour(**{**values, "events_per_segment": events, "accuracy": accuracy})

    best, calm, rash, poor = (
        tried("a", 3.0, 0.800),
        tried("a", 2.0, 0.795),
        tried("a", 1.0, 0.700),
        tried("b", 1.0, 0.6),
    )
    assert choose([best, calm, rash, poor]) == {"a": calm, "b": poor}


def test_thresholds_are_chosen_as_the_export_chooses_them() -> None:
    validation = [stream((0, 400), (1, 400), sure=0.75)]
    study = Study(manifest(), unknown_share=0.0, validation=validation)
    decision = study.decided(Way("mean", {}, {"smoothing_windows": 3}))
    assert decision.unknown_below == {"still": MOST, "moving": MOST}
    fixed = study.decided(Way("filter", {}, {}, mean_of(3), threshold=0.9))
    assert set(fixed.unknown_below.values()) == {0.9}


def test_the_whole_study_runs_on_made_up_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = toys.smoke_experiment()
    toys.write(tmp_path)
    bundle = tiny_bundle(
        tmp_path / "tiny.onnx",
        labels=experiment.labels,
        image=experiment.image.model_dump(),
        decision={
            "smoothing_windows": 1,
            "switch_after_s": 0.0,
            "update_every_s": 5.0,
            "unknown_below": dict.fromkeys(experiment.labels, 0.0),
        },
    )
    two = [Way("mean", {"windows": 3.0}, {"smoothing_windows": 3}), Way("median", {}, {}, median_of(3))]
    monkeypatch.setattr(smoothing, "ways", lambda _: two)
    monkeypatch.setattr(smoothing, "PIECES_S", (5.0, 3.0))
    arguments = ["--config", str(toys.SMOKE), "--data", str(tmp_path), "--bundle", str(bundle)]
    assert smoothing.main([*arguments, "--out", str(tmp_path / "results" / "smoothing.json")]) == 0
    found = json.loads((tmp_path / "results" / "smoothing.json").read_text())
    assert set(found["chosen"]) == {"mean", "median"}
    assert found["chosen"]["mean"]["test"]["as recorded"]["segments"] == 3
    assert "events per segment" in capsys.readouterr().out


def test_the_shipped_recording_is_played_with_a_decision(tmp_path: Path) -> None:
    bundle = load(tiny_bundle(tmp_path / "tiny.onnx"))
    found = smoothing.played_demo(bundle, Classifier(bundle), bundle.manifest.decision)
    assert found["segments"] == 8
    assert found["no_data"] == 2
    assert 1 <= found["activities"] + found["unknown"] <= 40


def test_a_study_that_lacks_its_data_says_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(toys.SMOKE), "--data", str(tmp_path), "--bundle", str(tmp_path / "no.onnx")]
    assert smoothing.main(arguments) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
