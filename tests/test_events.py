from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.manifests import manifest as tiny_manifest
from tests.reference import events as reference
from tests.reference.events import Break, Step, Told
from vskd_stream.errors import VskdError
from vskd_stream.events import ActivityEvent, Decider
from vskd_stream.manifest import Manifest
from vskd_stream.samples import Gap, GapReason
from vskd_stream.scores import Scores

LABELS = ("sit", "stand", "walk")
SHA256 = "ab" * 32
SIT, STAND, WALK, UNSURE = (0.75, 0.25, 0.0), (0.0, 1.0, 0.0), (0.0, 0.25, 0.75), (0.375, 0.375, 0.25)
HOP, WINDOW = 10, 40


History = list[Step | Break]


def manifest(*, window: int = WINDOW, hop: int = HOP, threshold: float = 0.5, **decision: Any) -> Manifest:
    """20 Hz, a window of 2 s every 0.5 s; unless told otherwise unsmoothed, 1 s to switch."""
    rules = {
        "smoothing_windows": 1,
        "switch_after_s": 1.0,
        "update_every_s": 60.0,
        "unknown_below": dict.fromkeys(LABELS, threshold),
    }
    return tiny_manifest(labels=LABELS, window_samples=window, hop_samples=hop, decision=rules | decision)


def decider(**changes: Any) -> Decider:
    return Decider("wrist", manifest=manifest(**changes), bundle_sha256=SHA256)


def scores(end: int, probabilities: Iterable[float]) -> Scores:
    return Scores("wrist", end, np.array(list(probabilities), np.float32))


def gap(reason: GapReason = "missing") -> Gap:
    return Gap("wrist", 0.0, 1.0, reason)


def play(machine: Decider, history: Iterable[Step | Break]) -> list[ActivityEvent]:
    told = []
    for item in history:
        if isinstance(item, Step):
            told += machine.push(scores(item.end, item.probabilities))
        else:
            told += machine.gap(gap("no_data" if item == "no_data" else "missing"))
    return told


def windows(*votes: tuple[float, ...], start: int = 100, hop: int = HOP) -> list[Step]:
    """Windows without a hole, the first ending at ``start``."""
    return [Step(start + hop * i, vote) for i, vote in enumerate(votes)]


def brief(told: Iterable[ActivityEvent]) -> list[tuple[str, str, int]]:
    """Starts and ends: type, label, and the sample where the activity starts or ends."""
    return [
        (event.type, event.label, event.start_sample if event.end_sample is None else event.end_sample)
        for event in told
        if event.type != "update"
    ]


def as_told(event: ActivityEvent) -> Told:
    # The oracle adds in another order.
    confidence: Any = None if event.confidence is None else pytest.approx(event.confidence, abs=1e-12)
    return Told(
        event.type,
        event.label,
        confidence,
        event.start_sample,
        event.at_sample,
        event.end_sample,
        event.reason,
    )


def test_a_label_starts_once_it_has_led_for_switch_after_s_at_the_centre_of_its_first_window() -> None:
    machine = decider(switch_after_s=1.0)
    assert play(machine, windows(SIT, SIT)) == []
    (start,) = play(machine, windows(SIT, start=120))
    assert (start.type, start.label, start.start_sample, start.at_sample) == ("start", "sit", 80, 120)
    assert (start.start_s, start.at_s, start.confidence) == (4.0, 6.0, 0.75)
    assert (start.end_sample, start.end_s, start.reason) == (None, None, None)


def test_a_switch_ends_the_old_activity_where_the_new_one_starts() -> None:
    told = play(decider(), windows(SIT, SIT, SIT, WALK, WALK, WALK))
    assert brief(told) == [("start", "sit", 80), ("end", "sit", 110), ("start", "walk", 110)]
    assert [event.at_sample for event in told] == [120, 150, 150]
    assert told[1].reason == "changed"
    assert told[0].id == told[1].id != told[2].id


def test_a_shorter_lead_changes_nothing() -> None:
    told = play(decider(), windows(SIT, SIT, SIT, WALK, WALK, SIT, WALK, WALK, SIT))
    assert brief(told) == [("start", "sit", 80)]


def test_without_hysteresis_every_vote_decides() -> None:
    told = play(decider(switch_after_s=0.0), windows(SIT, WALK))
    assert brief(told) == [("start", "sit", 80), ("end", "sit", 90), ("start", "walk", 90)]


def test_probabilities_are_averaged_over_the_last_windows() -> None:
    told = play(
        decider(smoothing_windows=2, switch_after_s=0.0), windows(WALK, SIT, WALK, WALK, STAND, STAND)
    )
    # The mean of WALK and SIT is a tie below the threshold; that of WALK and STAND is for standing.
    assert brief(told) == [
        ("start", "walk", 80),
        ("end", "walk", 90),
        ("start", "unknown", 90),
        ("end", "unknown", 110),
        ("start", "walk", 110),
        ("end", "walk", 120),
        ("start", "stand", 120),
    ]


def test_a_probability_below_its_labels_threshold_is_unknown() -> None:
    thresholds = {"sit": 0.5, "stand": 0.5, "walk": 0.8}
    machine = decider(switch_after_s=0.0, unknown_below=thresholds)
    assert brief(play(machine, windows(SIT, WALK))) == [
        ("start", "sit", 80),
        ("end", "sit", 90),
        ("start", "unknown", 90),
    ]


def test_confidence_is_the_mean_over_the_windows_that_voted_for_the_label() -> None:
    told = play(decider(), windows(SIT, SIT, (1.0, 0.0, 0.0), STAND, SIT, *[STAND] * 3))
    assert [event.confidence for event in told] == [
        pytest.approx((0.75 + 0.75 + 1.0) / 3),
        pytest.approx((0.75 + 0.75 + 1.0 + 0.75) / 4),
        1.0,
    ]


def test_unknown_and_no_data_have_no_confidence() -> None:
    history: History = [*windows(UNSURE), "no_data"]
    told = play(decider(switch_after_s=0.0), history)
    assert [event.label for event in told] == ["unknown", "unknown", "no_data"]
    assert {event.confidence for event in told} == {None}


def test_an_activity_is_updated_at_multiples_of_update_every_s_of_absolute_stream_time() -> None:
    machine = decider(update_every_s=1.25)
    told = play(machine, windows(*[SIT] * 12))
    assert [(event.type, event.at_sample) for event in told] == [
        ("start", 120),
        ("update", 130),  # 125 lies in the hop before it
        ("update", 150),
        ("update", 180),
        ("update", 200),
    ]
    assert len({event.id for event in told}) == 1


def test_votes_that_keep_changing_end_in_unknown_not_in_the_last_label_for_ever() -> None:
    told = play(decider(update_every_s=3.0), windows(SIT, SIT, SIT, *[WALK, SIT] * 10))
    assert brief(told) == [("start", "sit", 80), ("end", "sit", 110), ("start", "unknown", 110)]
    assert next(event.at_sample for event in told if event.label == "unknown") == 130 + 3.0 * 20


def test_a_stream_that_never_settles_starts_as_unknown() -> None:
    told = play(decider(update_every_s=3.0), windows(*[WALK, SIT] * 10))
    assert brief(told) == [("start", "unknown", 80)]


def test_one_dissenting_vote_is_no_doubt_however_often_updates_are_told() -> None:
    machine = decider(switch_after_s=0.2, update_every_s=0.1)
    assert brief(play(machine, windows(SIT, SIT, WALK, SIT, SIT))) == [("start", "sit", 80)]


def test_a_gap_ends_the_activity_where_the_last_window_did_and_forgets_the_votes() -> None:
    machine = decider()
    told = play(machine, [*windows(SIT, SIT, SIT, SIT), "gap", *windows(SIT, SIT, start=200)])
    assert brief(told) == [("start", "sit", 80), ("end", "sit", 130)]
    assert (told[1].reason, told[1].at_sample) == ("gap", 130)
    assert brief(play(machine, windows(SIT, start=220))) == [("start", "sit", 180)]


def test_silence_is_no_data_until_the_next_window_begins() -> None:
    history: History = [*windows(SIT, SIT, SIT), "no_data", "gap", "no_data", *windows(SIT, start=500)]
    told = play(decider(), history)
    assert [(event.type, event.label, event.reason) for event in told] == [
        ("start", "sit", None),
        ("end", "sit", "no_data"),
        ("start", "no_data", None),
        ("end", "no_data", "data"),
    ]
    assert [event.end_sample for event in told] == [None, 120, None, 460]
    assert told[2].start_sample == 120


def test_silence_in_which_no_sample_was_lost_has_no_length() -> None:
    (_, end) = play(decider(), [*windows(SIT), "no_data", *windows(SIT, start=100 + WINDOW)])
    assert (end.start_sample, end.end_sample, end.reason) == (100, 100, "data")


def test_silence_of_a_device_without_a_window_is_nothing_to_tell() -> None:
    assert play(decider(), ["no_data", "gap"]) == []


def test_a_shed_window_empties_the_average_but_not_the_activity() -> None:
    history = [*windows(SIT, SIT, SIT), Step(140, WALK), Step(160, WALK)]
    told = play(decider(smoothing_windows=3), history)
    assert brief(told) == [("start", "sit", 80), ("end", "sit", 120), ("start", "walk", 120)]


def test_a_hole_that_could_have_held_an_activity_is_a_gap() -> None:
    longest = 120 + WINDOW + WINDOW + 20
    assert brief(play(decider(), [*windows(SIT, SIT, SIT), Step(longest, SIT)])) == [("start", "sit", 80)]
    told = play(decider(), [*windows(SIT, SIT, SIT), Step(longest + HOP, SIT)])
    assert brief(told) == [("start", "sit", 80), ("end", "sit", 120)]
    assert told[-1].reason == "gap"


def test_stopping_ends_what_goes_on_and_leaves_a_new_decider() -> None:
    machine = decider()
    assert machine.stop() == []
    first = play(machine, windows(SIT, SIT, SIT))
    (end,) = machine.stop()
    assert (end.type, end.id, end.end_sample, end.reason) == ("end", first[0].id, 120, "stopped")
    assert play(machine, windows(SIT, SIT, SIT)) == first


def test_reset_forgets_everything() -> None:
    machine = decider()
    first = play(machine, windows(SIT, SIT, SIT))
    machine.reset()
    assert machine.stop() == []
    assert play(machine, windows(SIT, SIT, SIT)) == first


def test_a_clock_that_was_set_back_gives_other_ids_to_the_same_samples() -> None:
    history: History = [*windows(SIT, SIT, SIT), "gap", *windows(SIT, SIT, SIT)]
    first, _, second = play(decider(), history)
    assert (first.start_sample, first.label) == (second.start_sample, second.label)
    assert first.id != second.id


def test_no_data_across_a_clock_that_was_set_back_has_no_known_length() -> None:
    told = play(decider(), [*windows(SIT), "no_data", *windows(SIT)])
    assert brief(told) == [("start", "no_data", 100), ("end", "no_data", 100)]
    assert told[-1].reason == "gap"


def test_an_id_is_a_fixed_function_of_device_bundle_label_and_start() -> None:
    (start,) = play(decider(), windows(SIT, SIT, SIT))
    assert start.id == "ad68580e0a69a189c0a4c8a825d0375e"
    for device, sha256, vote in [("ankle", SHA256, SIT), ("wrist", "cd" * 32, SIT), ("wrist", SHA256, WALK)]:
        other = Decider(device, manifest=manifest(), bundle_sha256=sha256)
        told = [
            event
            for step in windows(vote, vote, vote)
            for event in other.push(replace(scores(step.end, step.probabilities), device=device))
        ]
        assert told[0].id != start.id


def test_a_decider_with_other_thresholds_names_the_same_activity_alike() -> None:
    (one,) = play(decider(threshold=0.5), windows(SIT, SIT, SIT))
    (other,) = play(decider(threshold=0.6), windows(SIT, SIT, SIT))
    assert one == other


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Scores("ankle", 130, np.array(SIT, np.float32)), "belongs to ankle"),
        (scores(130, (0.5, 0.5)), "3 labels"),
        (scores(130, (np.nan, 0.5, 0.5)), "not finite"),
        (scores(131, SIT), "multiples of the hop, 10"),
        (scores(120, SIT), "not after 120"),
        (scores(90, SIT), "not after 120"),
    ],
)
def test_scores_that_cannot_be_the_next_are_refused_and_change_nothing(bad: Scores, message: str) -> None:
    machine, undisturbed = decider(smoothing_windows=3), decider(smoothing_windows=3)
    before, after = windows(SIT, SIT, SIT), windows(WALK, WALK, WALK, WALK, start=130)
    assert play(machine, before) == play(undisturbed, before)
    with pytest.raises(VskdError, match=message):
        machine.push(bad)
    assert play(machine, after) == play(undisturbed, after)


def test_a_gap_of_another_device_is_refused() -> None:
    with pytest.raises(VskdError, match="belongs to ankle"):
        decider().gap(Gap("ankle", 0.0, 1.0, "missing"))


def test_an_event_holds_no_numpy_scalar() -> None:
    machine = decider(switch_after_s=0.0, update_every_s=0.5)
    told = [
        event
        for end in range(100, 150, 10)
        for event in machine.push(Scores("wrist", np.int64(end), np.array(SIT, np.float32)))  # type: ignore[arg-type]
    ]
    assert {type(value) for event in told for value in asdict(event).values()} <= {
        str,
        int,
        float,
        type(None),
    }
    json.dumps([asdict(event) for event in told])


def test_rounding_of_a_softmax_does_not_lift_confidence_over_one() -> None:
    (start,) = play(decider(switch_after_s=0.0), windows((1.0000001, 0.0, 0.0)))
    assert start.confidence == 1.0


# Eighths sum without rounding, so a tie is a tie for the oracle as well.
_votes = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(
    lambda cut: (min(cut) / 8, abs(cut[0] - cut[1]) / 8, (8 - max(cut)) / 8)
)
_manifests = st.builds(
    manifest,
    window=st.sampled_from([20, 40, 41]),
    hop=st.sampled_from([7, 10, 20]),
    threshold=st.sampled_from([0.0, 0.375, 0.625]),
    smoothing_windows=st.integers(1, 4),
    switch_after_s=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    update_every_s=st.sampled_from([0.01, 1.0, 3.33, 7.0]),
)


@st.composite
def _histories(draw: st.DrawFn, rules: Manifest, *, moves: st.SearchStrategy[str], least: int = 0) -> History:
    """Windows of ``rules``, repeated votes among them, with whatever ``moves`` allows in between."""
    history: History = []
    hop = rules.hop_samples
    end = hop * draw(st.integers(5, 40))
    for vote, times, move in draw(
        st.lists(st.tuples(_votes, st.integers(1, 9), moves), min_size=least, max_size=20)
    ):
        for _ in range(times):
            history.append(Step(end, vote))
            end += hop
        if move in {"gap", "no_data"}:
            history.append("gap" if move == "gap" else "no_data")
            end += hop * draw(st.integers(rules.window_samples // hop, 12))
        elif move == "set_back":
            history.append(draw(st.sampled_from(["gap", "no_data"])))
            end -= hop * draw(st.integers(0, 30))
        elif move == "shed":
            end += hop * draw(st.integers(1, 20))
    return history


_any_move = st.sampled_from(["none", "none", "none", "shed", "gap", "no_data", "set_back"])
_cases = _manifests.flatmap(lambda rules: st.tuples(st.just(rules), _histories(rules, moves=_any_move)))


@given(_cases)
@settings(max_examples=200, deadline=None)
def test_events_are_those_of_the_slow_oracle(case: tuple[Manifest, History]) -> None:
    rules, history = case
    machine = Decider("wrist", manifest=rules, bundle_sha256=SHA256)
    assert [as_told(event) for event in play(machine, history)] == reference.events(history, manifest=rules)


@given(_cases)
@settings(max_examples=200, deadline=None)
def test_whatever_comes_activities_start_once_end_once_and_never_overlap(
    case: tuple[Manifest, History],
) -> None:
    rules, history = case
    told = play(Decider("wrist", manifest=rules, bundle_sha256=SHA256), history)
    assert told == play(Decider("wrist", manifest=rules, bundle_sha256=SHA256), history)
    goes_on: ActivityEvent | None = None
    ids = set()
    for event in told:
        if event.type == "start":
            assert goes_on is None
            assert event.id not in ids
            ids.add(event.id)
            goes_on = event
        else:
            assert goes_on is not None
            same = replace(goes_on, type=event.type, confidence=event.confidence, at_sample=event.at_sample)
            same = replace(same, at_s=event.at_s, end_sample=event.end_sample, end_s=event.end_s)
            assert replace(same, reason=event.reason) == event
        if event.type == "end":
            assert event.end_sample is not None
            assert event.end_sample - event.start_sample >= (event.label != "no_data")
            goes_on = None


@given(
    _manifests.flatmap(
        lambda rules: st.tuples(
            st.just(rules),
            _histories(rules, moves=st.sampled_from(["none", "shed", "gap", "no_data"])),
        )
    )
)
@settings(max_examples=100, deadline=None)
def test_on_one_time_line_activities_lie_in_order(case: tuple[Manifest, History]) -> None:
    rules, history = case
    told = play(Decider("wrist", manifest=rules, bundle_sha256=SHA256), history)
    bounds = [sample for _, _, sample in brief(told)]
    assert bounds == sorted(bounds)
    assert [event.at_sample for event in told] == sorted(event.at_sample for event in told)
    for end, start in pairwise(told):
        if end.reason == "changed":
            assert (start.type, start.start_sample) == ("start", end.end_sample)


@given(
    _manifests.flatmap(
        lambda rules: st.tuples(
            st.just(rules), _histories(rules, moves=st.just("none"), least=12), st.integers(0, 11)
        )
    )
)
@example((manifest(update_every_s=3.0), windows(*[SIT] * 5, *[WALK, SIT] * 12), 5))
@settings(max_examples=100, deadline=None)
def test_who_starts_later_decides_the_same_within_a_bounded_time(
    case: tuple[Manifest, list[Step], int],
) -> None:
    rules, history, later = case
    limits = reference.Rules(rules)
    warm_up = (limits.smoothing_windows + 1) * limits.hop + limits.switch_after + limits.doubt_for

    def follow(steps: list[Step]) -> tuple[dict[int, str | None], list[ActivityEvent]]:
        """Label after each window, and all starts."""
        machine = Decider("wrist", manifest=rules, bundle_sha256=SHA256)
        label: str | None = None
        labels: dict[int, str | None] = {}
        starts = []
        for step in steps:
            for event in machine.push(scores(step.end, step.probabilities)):
                label = event.label
                starts += [event] if event.type == "start" else []
            labels[step.end] = label
        return labels, starts

    labels, starts = follow(history)
    late_labels, late_starts = follow(history[later:])
    agreed_from = history[later].end + warm_up
    for end, label in late_labels.items():
        assert end < agreed_from or label == labels[end]
    assert [event for event in late_starts if event.at_sample >= agreed_from] == [
        event for event in starts if event.at_sample >= agreed_from
    ]
