"""Training sees the images that serving makes, bit for bit; otherwise a model learns another world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training import toys
from training.augment import Augmentation
from training.datasets import DatasetError, Recording, wisdm
from training.experiment import Signal
from training.windows import RandomWindows, cut
from vskd_stream.image import encode, encode_batch
from vskd_stream.resample import Resampler
from vskd_stream.window import WindowCutter

NONE = Augmentation(rotation_deg=0.0, scale=0.0, speed=0.0, noise_g=0.0)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    return wisdm.load(toys.write(tmp_path_factory.mktemp("data")))


def supply(recordings: list[Recording], augmentation: Augmentation = NONE, *, seed: int = 1) -> RandomWindows:
    experiment = toys.smoke_experiment()
    return RandomWindows(
        recordings, signal=experiment.signal, image=experiment.image, augmentation=augmentation, seed=seed
    )


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_evaluated_images_are_those_of_a_gateway_that_gets_the_stream_in_pieces(
    recordings: list[Recording], sizes: list[int]
) -> None:
    experiment = toys.smoke_experiment()
    signal, recording = experiment.signal, recordings[1]
    resampler = Resampler(rate_hz=signal.sampling_rate_hz, max_gap_s=signal.max_gap_s)
    cutter = WindowCutter(window_samples=signal.window_samples, hop_samples=signal.hop_samples)
    served, start, piece = [], 0, 0
    while start < len(recording.t_s):
        end = start + sizes[piece % len(sizes)]
        for block in resampler.push(
            recording.t_s[start:end], recording.acc_g[start:end], sampling_rate_hz=20.0
        ):
            served += [encode(window.acc_g, spec=experiment.image) for window in cutter.push(block)]
        start, piece = end, piece + 1
    (stretch,) = cut([recording], signal)
    assert np.array_equal(encode_batch(stretch.windows, spec=experiment.image), np.stack(served))


def test_learned_images_without_augmentation_are_served_ones_of_the_same_samples(
    recordings: list[Recording],
) -> None:
    experiment = toys.smoke_experiment()
    # A hop of one sample cuts every window there is.
    every = cut(recordings[:3], experiment.signal.model_copy(update={"hop_samples": 1}))
    served = {
        image.tobytes(): stretch.label
        for stretch in every
        for image in encode_batch(stretch.windows, spec=experiment.image)
    }
    for images, labels in supply(recordings[:3]).epoch(0, batches=3, batch_size=16):
        for image, label in zip(images, labels, strict=True):
            assert served[image.tobytes()] == label


def test_an_epoch_depends_on_seed_and_number_alone(recordings: list[Recording]) -> None:
    strong = Augmentation(rotation_deg=20.0, scale=0.1, speed=0.1, noise_g=0.1)

    def epoch(number: int, *, seed: int = 1, before: int = 0) -> bytes:
        source = supply(recordings, strong, seed=seed)
        for earlier in range(before):
            list(source.epoch(earlier, batches=1, batch_size=4))
        return b"".join(i.tobytes() + y.tobytes() for i, y in source.epoch(number, batches=2, batch_size=8))

    assert epoch(5) == epoch(5, before=5)
    assert epoch(5) != epoch(6)
    assert epoch(5) != epoch(5, seed=2)


def test_every_label_is_drawn_equally_often(recordings: list[Recording]) -> None:
    # One of the labels has a tenth of the others' recordings.
    uneven = [r for r in recordings if r.label != 1 or r.subject == "1"]
    source = supply(uneven)
    _, labels = source.draw(np.random.default_rng(0), 3000)
    assert source.labels.tolist() == [0, 1, 4]
    assert np.bincount(labels)[[0, 1, 4]] == pytest.approx([1000, 1000, 1000], rel=0.1)


def test_no_window_spans_a_gap() -> None:
    signal = Signal(sampling_rate_hz=20.0, window_samples=40, hop_samples=10, max_gap_s=0.5)
    t_s = np.arange(200) / 20.0
    t_s[100:] += 3.0
    acc_g = np.zeros((200, 3), np.float32)
    acc_g[100:] = 1.0
    stretches = cut([Recording("1", 0, t_s, acc_g, 20.0)], signal)
    assert len(stretches) == 2
    assert all(np.ptp(window) == 0.0 for stretch in stretches for window in stretch.windows)


def test_recordings_shorter_than_a_window_are_told() -> None:
    short = Recording("1", 0, np.arange(20) / 20.0, np.zeros((20, 3), np.float32), 20.0)
    with pytest.raises(DatasetError, match="as long as a window of 2 s"):
        cut([short], toys.smoke_experiment().signal)
    with pytest.raises(DatasetError, match="has the 40 samples that a window needs"):
        supply([short])


def test_the_real_recordings_can_be_cut(shared_data: Path) -> None:
    recordings = wisdm.load(shared_data / toys.FILE)
    assert len({recording.subject for recording in recordings}) == 38
    assert {recording.label for recording in recordings} == set(range(18))
    assert 30.0 < sum(recording.t_s[-1] for recording in recordings) / 3600.0 < 36.0


def test_a_label_is_drawn_as_often_as_its_prior_says(recordings: list[Recording]) -> None:
    experiment = toys.smoke_experiment()
    labels = sorted({recording.label for recording in recordings})
    drawn = RandomWindows(
        recordings,
        signal=experiment.signal,
        image=experiment.image,
        augmentation=NONE,
        seed=1,
        prior={labels[0]: 6.0},
    ).draw(np.random.default_rng(0), 4000)[1]
    shares = [float((drawn == label).mean()) for label in labels]
    np.testing.assert_allclose(shares, [0.75, 0.125, 0.125], atol=0.03)
