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
from msgspec import structs

from tests.manifests import manifest as tiny_manifest
from tests.reference import events as reference
from tests.reference.events import Break, Step, Told
from vskd_stream.errors import VskdError
from vskd_stream.events import ActivityEvent, Decider
from vskd_stream.lifecycle import NO_PREFERENCES, Preferences
from vskd_stream.manifest import Manifest
from vskd_stream.samples import Gap, GapReason
from vskd_stream.scores import Scores

LABELS = ("sit", "stand", "walk")
SHA256 = "ab" * 32
SIT, STAND, WALK, UNSURE = (0.75, 0.25, 0.0), (0.0, 1.0, 0.0), (0.0, 0.25, 0.75), (0.375, 0.375, 0.25)
HOP, WINDOW = 10, 40


History = list[Step | Break]


def manifest(*, window: int = WINDOW, hop: int = HOP, threshold: float = 0.5, **decision: Any) -> Manifest:
    """20 Hz, a window of 2 s every 0.5 s; unless told otherwise unsmoothed, 1 s to switch or to give up."""
    rules = {
        "smoothing_windows": 1,
        "switch_after_s": 1.0,
        "unknown_after_s": 1.0,
        "update_every_s": 60.0,
        "unknown_below": dict.fromkeys(LABELS, threshold),
    }
    return tiny_manifest(labels=LABELS, window_samples=window, hop_samples=hop, decision=rules | decision)


def decider(preferences: Preferences = NO_PREFERENCES, **changes: Any) -> Decider:
    rules = manifest(**changes)
    return Decider("wrist", manifest=rules, bundle_sha256=SHA256, preferences=preferences)


def scores(end: int, probabilities: Iterable[float]) -> Scores:
    return Scores("wrist", end, np.array(list(probabilities), np.float32))


def gap(reason: GapReason = "missing") -> Gap:
    return Gap("wrist", 0.0, 1.0, reason)


def play(machine: Decider, history: Iterable[Step | Break]) -> list[ActivityEvent]:
    told = []
    for item in history:
        if isinstance(item, Step):
            told += machine.push(scores(item.end, item.probabilities), unrest_g=item.unrest_g)
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


def test_without_hysteresis_every_vote_decides() -> None:
    told = play(decider(switch_after_s=0.0), windows(SIT, WALK))
    assert brief(told) == [("start", "sit", 80), ("end", "sit", 90), ("start", "walk", 90)]


def test_a_probability_below_its_labels_threshold_is_unknown_in_the_end() -> None:
    thresholds = {"sit": 0.5, "stand": 0.5, "walk": 0.8}
    machine = decider(switch_after_s=0.0, unknown_below=thresholds)
    assert brief(play(machine, windows(SIT, WALK, WALK, WALK))) == [
        ("start", "sit", 80),
        ("end", "sit", 90),
        ("start", "unknown", 90),
    ]


def test_unknown_and_no_data_have_no_confidence() -> None:
    history: History = [*windows(UNSURE, UNSURE, UNSURE), "no_data"]
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
    told = play(decider(unknown_after_s=3.0), windows(SIT, SIT, SIT, *[WALK, SIT] * 10))
    assert brief(told) == [("start", "sit", 80), ("end", "sit", 110), ("start", "unknown", 110)]
    assert next(event.at_sample for event in told if event.label == "unknown") == 130 + 3.0 * 20


def test_a_stream_that_never_settles_starts_as_unknown() -> None:
    told = play(decider(unknown_after_s=3.0), windows(*[WALK, SIT] * 10))
    assert brief(told) == [("start", "unknown", 80)]


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


def test_a_shed_window_leaves_a_hole_in_what_is_smoothed_over_and_changes_nothing_else() -> None:
    history = [*windows(SIT, SIT, SIT), *(Step(end, WALK) for end in (140, 160, 180, 200, 220))]
    told = play(decider(smoothing_windows=3), history)
    assert brief(told) == [("start", "sit", 80), ("end", "sit", 140), ("start", "walk", 140)]


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
            for event in other.push(structs.replace(scores(step.end, step.probabilities), device=device))
        ]
        assert told[0].id != start.id


def test_a_decider_with_other_thresholds_names_the_same_activity_alike() -> None:
    (one,) = play(decider(threshold=0.5), windows(SIT, SIT, SIT))
    (other,) = play(decider(threshold=0.6), windows(SIT, SIT, SIT))
    assert one == other


def test_a_boundary_that_was_seen_from_both_sides_is_known_to_half_a_window() -> None:
    start, end, then = play(decider(), windows(SIT, SIT, SIT, WALK, WALK, WALK))
    assert (start.start_uncertainty_s, start.end_uncertainty_s) == (None, None)
    assert (end.start_uncertainty_s, end.end_uncertainty_s) == (None, 1.0)
    assert (then.start_uncertainty_s, then.end_uncertainty_s) == (1.0, None)


def test_what_was_going_on_before_the_stream_began_or_broke_is_not_known() -> None:
    history: History = [*windows(SIT, SIT, SIT), "gap", *windows(SIT, SIT, SIT, start=200), "gap"]
    for event in play(decider(), history):
        assert (event.start_uncertainty_s, event.end_uncertainty_s) == (None, None)


def test_silence_is_known_to_a_hop() -> None:
    history: History = [*windows(SIT, SIT, SIT), "no_data", *windows(SIT, start=500)]
    (_, left, silent, heard) = play(decider(), history)
    assert left.end_uncertainty_s is None
    assert (silent.start_uncertainty_s, heard.end_uncertainty_s) == (0.5, 0.5)


def test_an_event_tells_the_coarser_label_and_the_wrist_if_they_are_known() -> None:
    machine = decider(Preferences(wrist="left"), coarse={"walk": "moving"}, switch_after_s=0.0)
    told = play(machine, [*windows(WALK, SIT), "no_data"])
    labels = {(event.label, event.coarse_label) for event in told}
    assert labels == {("walk", "moving"), ("sit", "sit"), ("no_data", "no_data")}
    assert {event.wrist for event in told} == {"left"}
    assert {event.wrist for event in play(decider(), windows(SIT, SIT, SIT))} == {None}


def test_an_unknown_activity_tells_its_kind_where_that_is_sure() -> None:
    coarse: dict[str, Any] = {
        "coarse": {"sit": "calm", "stand": "calm"},
        "coarse_unknown_below": {"calm": 0.8},
    }
    machine = decider(**coarse, unknown_after_s=5.0)
    unsure = (0.45, 0.45, 0.1)
    told = play(machine, windows(*[unsure] * 12))
    assert {(event.label, event.coarse_label, event.confidence) for event in told} == {
        ("unknown", "calm", None)
    }


def test_a_device_that_lies_about_is_not_worn_and_has_no_confidence() -> None:
    machine = decider(not_worn={"below_g": 0.013, "for_s": 10.0}, switch_after_s=0.0)
    still = [Step(200 + 10 * i, SIT, unrest_g=0.004) for i in range(30)]
    # Worn again from 490 on: of the windows of 40 samples the first that holds nothing else ends at 530.
    told = play(machine, [*windows(*[SIT] * 10), *still, *windows(*[WALK] * 4, start=500)])
    assert brief(told) == [
        ("start", "sit", 80),
        ("end", "sit", 180),
        ("start", "not_worn", 180),
        ("end", "not_worn", 510),
        ("start", "walk", 510),
    ]
    assert {event.confidence for event in told if event.label == "not_worn"} == {None}


def test_a_silenced_activity_ends_at_once_and_is_unknown_from_then_on() -> None:
    machine = decider()
    (start,) = play(machine, windows(SIT, SIT, SIT))
    (end,) = machine.prefer(Preferences(silenced=frozenset({"sit"})))
    assert (end.type, end.id, end.reason, end.end_sample) == ("end", start.id, "silenced", 100)
    told = play(machine, windows(*[SIT] * 4, *[WALK] * 3, start=130))
    assert brief(told) == [
        ("start", "unknown", 110),
        ("end", "unknown", 150),
        ("start", "walk", 150),
    ]


def test_what_a_wearer_never_does_ends_at_once_and_is_told_as_the_next_likeliest() -> None:
    machine = decider()
    (start,) = play(machine, windows(SIT, SIT, SIT))
    (end,) = machine.prefer(Preferences(never=frozenset({"sit"})))
    assert (end.id, end.reason) == (start.id, "silenced")
    doubtful = (0.5, 0.125, 0.375)
    told = play(machine, windows(*[doubtful] * 4, start=130))
    assert [(event.type, event.label, event.confidence) for event in told] == [("start", LABELS[2], 0.75)]


def test_another_activity_goes_on_when_a_label_is_silenced() -> None:
    machine = decider()
    (start,) = play(machine, windows(SIT, SIT, SIT))
    assert machine.prefer(Preferences(silenced=frozenset({"walk"}))) == []
    told = play(machine, windows(*[SIT] * 3, *[STAND] * 3, start=130))
    assert [(event.type, event.label) for event in told] == [("end", "sit"), ("start", "stand")]
    assert told[0].id == start.id


def test_a_silent_device_tells_nothing_but_the_end_of_what_went_on() -> None:
    machine = decider()
    (start,) = play(machine, windows(SIT, SIT, SIT))
    (end,) = machine.prefer(Preferences(silent=True))
    assert (end.type, end.id, end.reason, end.end_sample) == ("end", start.id, "silenced", 120)
    assert machine.prefer(Preferences(silent=True)) == []
    assert play(machine, [*windows(WALK, WALK, WALK, start=130), "no_data", "gap"]) == []
    assert machine.prefer(NO_PREFERENCES) == []
    told = play(machine, windows(WALK, WALK, WALK, start=300))
    assert brief(told) == [("start", "walk", 280)]


def test_a_device_that_is_silent_from_the_start_tells_nothing() -> None:
    assert play(decider(Preferences(silent=True)), [*windows(*[SIT] * 9), "no_data"]) == []


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


# Eighths sum without rounding, so a tie of means is a tie for the oracle as well.
_eighths = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(
    lambda cut: (min(cut) / 8, abs(cut[0] - cut[1]) / 8, (8 - max(cut)) / 8)
)
# No two labels' logarithms have a sum in common, so paths are never tied.
_uneven = st.sampled_from(
    [(0.83, 0.11, 0.06), (0.05, 0.88, 0.07), (0.14, 0.04, 0.82), (0.41, 0.34, 0.25), (0.2, 0.47, 0.33)]
).map(lambda row: tuple(np.array(row, np.float32).tolist()))
_seconds = st.dictionaries(st.sampled_from(LABELS), st.sampled_from([0.0, 1.0, 2.5, 6.0]))
_manifests = st.builds(
    manifest,
    window=st.sampled_from([20, 40, 41]),
    hop=st.sampled_from([7, 10, 20]),
    threshold=st.sampled_from([0.0, 0.375, 0.625]),
    smoothing=st.sampled_from(["mean", "path"]),
    smoothing_windows=st.integers(1, 3),
    change_cost=st.sampled_from([0.0, 2.3, 6.1]),
    margin=st.sampled_from([0.0, 0.9]),
    begin_margin=st.sampled_from([0.0, 1.3]),
    switch_after_s=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    unknown_after_s=st.sampled_from([1.0, 3.3]),
    minimum_s=_seconds,
    hold_s=_seconds,
    update_every_s=st.sampled_from([0.01, 1.0, 3.33, 7.0]),
    not_worn=st.sampled_from(
        [
            None,
            {"below_g": 0.013, "for_s": 10.0},
            {"below_g": 0.013, "for_s": 10.0, "table_below_g": 0.005},
        ]
    ),
)
_preferences = st.builds(
    Preferences,
    minimum_s=_seconds,
    hold_s=_seconds,
    silenced=st.frozensets(st.sampled_from(LABELS), max_size=1),
    never=st.one_of(st.just(frozenset[str]()), st.frozensets(st.sampled_from(LABELS), max_size=2)),
)


@st.composite
def _histories(draw: st.DrawFn, rules: Manifest, *, moves: st.SearchStrategy[str], least: int = 0) -> History:
    """Windows of ``rules``, repeated votes among them, with whatever ``moves`` allows in between."""
    history: History = []
    hop = rules.hop_samples
    end = hop * draw(st.integers(5, 40))
    rows = _eighths if rules.decision.smoothing == "mean" else _uneven
    unrest = st.sampled_from([0.2, 0.2, 0.2, 0.004])
    for row, times, move, unrest_g in draw(
        st.lists(st.tuples(rows, st.integers(1, 9), moves, unrest), min_size=least, max_size=16)
    ):
        for _ in range(times):
            history.append(Step(end, row, unrest_g))
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
_cases = _manifests.flatmap(
    lambda rules: st.tuples(st.just(rules), _preferences, _histories(rules, moves=_any_move))
)


def played(rules: Manifest, preferences: Preferences, history: History) -> list[ActivityEvent]:
    machine = Decider("wrist", manifest=rules, bundle_sha256=SHA256, preferences=preferences)
    return play(machine, history)


@given(_cases)
@settings(max_examples=200, deadline=None)
def test_events_are_those_of_the_slow_oracle(case: tuple[Manifest, Preferences, History]) -> None:
    rules, preferences, history = case
    told = [as_told(event) for event in played(rules, preferences, history)]
    assert told == reference.events(history, manifest=rules, preferences=preferences)


@given(_cases)
@settings(max_examples=200, deadline=None)
def test_whatever_comes_activities_start_once_end_once_and_never_overlap(
    case: tuple[Manifest, Preferences, History],
) -> None:
    told = played(*case)
    assert told == played(*case)
    assert not {event.label for event in told} & case[1].untold
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
            assert replace(same, end_uncertainty_s=event.end_uncertainty_s, reason=event.reason) == event
        if event.type == "end":
            assert event.end_sample is not None
            assert event.end_sample - event.start_sample >= (event.label != "no_data")
            goes_on = None


@given(
    _manifests.flatmap(
        lambda rules: st.tuples(
            st.just(rules),
            _preferences,
            _histories(rules, moves=st.sampled_from(["none", "shed", "gap", "no_data"])),
        )
    )
)
@settings(max_examples=100, deadline=None)
def test_on_one_time_line_activities_lie_in_order(case: tuple[Manifest, Preferences, History]) -> None:
    told = played(*case)
    bounds = [sample for _, _, sample in brief(told)]
    assert bounds == sorted(bounds)
    assert [event.at_sample for event in told] == sorted(event.at_sample for event in told)
    for end, start in pairwise(told):
        if end.reason == "changed":
            assert start.type == "start"
            assert end.end_sample is not None
            assert end.end_sample <= start.start_sample


@given(
    _manifests.flatmap(
        lambda rules: st.tuples(
            st.just(rules),
            _preferences,
            _histories(rules, moves=st.just("none"), least=12),
            st.integers(0, 11),
        )
    )
)
@example((manifest(unknown_after_s=3.0), NO_PREFERENCES, windows(*[SIT] * 5, *[WALK, SIT] * 12), 5))
@settings(max_examples=100, deadline=None)
def test_who_starts_later_decides_the_same_within_a_bounded_time(
    case: tuple[Manifest, Preferences, list[Step], int],
) -> None:
    rules, preferences, history, later = case
    limits = reference.Rules(rules, preferences)
    holds = limits.hold.values()
    warm_up = 2 * rules.decision.smoothing_windows * limits.hop + limits.still_for + limits.switch_after
    warm_up += sum(holds) + max(holds) + 3 * limits.unknown_after

    def follow(steps: list[Step]) -> tuple[dict[int, str | None], list[ActivityEvent]]:
        """Label after each window, and all starts."""
        machine = Decider("wrist", manifest=rules, bundle_sha256=SHA256, preferences=preferences)
        label: str | None = None
        labels: dict[int, str | None] = {}
        starts = []
        for step in steps:
            for event in machine.push(scores(step.end, step.probabilities), unrest_g=step.unrest_g):
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


def suspect(start: int) -> Gap:
    return Gap("wrist", start / 20, start / 20, "units_suspect", "the unit is m/s2, not g")


def test_samples_that_are_not_to_be_trusted_end_what_goes_on_until_the_next_window() -> None:
    machine = decider()
    told = play(machine, windows(SIT, SIT, SIT))
    told += machine.gap(suspect(120))
    told += machine.gap(gap())
    told += machine.gap(suspect(200))
    told += play(machine, windows(SIT, start=300))
    assert [(event.type, event.label, event.reason) for event in told] == [
        ("start", "sit", None),
        ("end", "sit", "units_suspect"),
        ("start", "units_suspect", None),
        ("end", "units_suspect", "data"),
    ]
    assert (told[2].start_sample, told[3].end_sample, told[3].confidence) == (120, 300 - WINDOW, None)


def test_a_stream_that_is_suspect_from_the_first_is_told_to_be() -> None:
    machine = decider()
    assert brief(machine.gap(suspect(100))) == [("start", "units_suspect", 100)]
    assert brief(play(machine, windows(SIT, start=300))) == [("end", "units_suspect", 260)]


def test_silence_ends_a_suspicion_where_the_samples_ended_and_it_comes_back_with_them() -> None:
    machine = decider()
    machine.gap(suspect(100))
    silence = machine.gap(Gap("wrist", 9.99, 9.99, "no_data"))
    assert brief(silence) == [("end", "units_suspect", 199), ("start", "no_data", 199)]
    assert silence[0].reason == "no_data"
    again = machine.gap(suspect(400))
    assert brief(again) == [("end", "no_data", 400), ("start", "units_suspect", 400)]


def test_a_suspicion_across_a_clock_that_was_set_back_has_no_known_length() -> None:
    machine = decider()
    first = machine.gap(suspect(400))
    machine.gap(gap("clock_jump"))
    again = machine.gap(suspect(100))
    assert brief(again) == [("end", "units_suspect", 400), ("start", "units_suspect", 100)]
    assert again[0].reason == "gap"
    assert again[1].id != first[0].id
    assert brief(machine.stop()) == [("end", "units_suspect", 100)]


@given(
    st.lists(st.sampled_from(["window", "missing", "no_data", "units_suspect", "clock_jump"]), max_size=80),
    st.randoms(use_true_random=False),
)
def test_whatever_breaks_a_stream_activities_start_once_end_once_and_never_overlap(moves, random) -> None:
    machine, told, at = decider(), [], 1000
    for move in moves:
        at += HOP * random.randint(1, 20)
        if move == "window":
            at += WINDOW
            told += play(machine, windows(SIT, SIT, SIT, start=at))
            at += 2 * HOP
            continue
        if move == "clock_jump":
            at = HOP * random.randint(10, 200)
        told += machine.gap(Gap("wrist", at / 20, at / 20, move))
    told += machine.stop()
    told = [event for event in told if event.type != "update"]
    assert [event.type for event in told] == ["start", "end"] * (len(told) // 2)
    for start, end in zip(told[::2], told[1::2], strict=True):
        assert start.id == end.id
        assert end.end_sample is not None
        assert end.end_sample >= start.start_sample
