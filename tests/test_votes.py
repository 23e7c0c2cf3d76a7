from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import events as reference
from vskd_stream import _votes
from vskd_stream.manifest import Decision
from vskd_stream.votes import LEAST_PROBABILITY, Vote, Voter, likeliest_path, without

LABELS = ("sit", "stand", "walk")
SIT, STAND, WALK, UNSURE = [0.75, 0.25, 0.0], [0.0, 1.0, 0.0], [0.0, 0.25, 0.75], [0.375, 0.375, 0.25]
CLEAR_SIT, CLEAR_WALK = [0.9, 0.05, 0.05], [0.05, 0.05, 0.9]
STILL, WORN = 0.004, 0.2


def make_voter(silenced: Collection[str] = (), never: Collection[str] = (), **changes: Any) -> Voter:
    """20 Hz, unless told otherwise unsmoothed, and unknown under 0.5."""
    rules = {
        "smoothing_windows": 1,
        "switch_after_s": 0.0,
        "update_every_s": 60.0,
        "unknown_below": dict.fromkeys(LABELS, 0.5),
    }
    decision = Decision.model_validate(rules | changes)
    return Voter(
        decision, labels=LABELS, sampling_rate_hz=20.0, window_samples=160, silenced=silenced, never=never
    )


def votes(voter: Voter, *rows: list[float], unrest_g: float = math.inf, first: int = 80) -> list[Vote]:
    return [voter.push(row, centre=first + 10 * i, unrest_g=unrest_g) for i, row in enumerate(rows)]


def labels(voter: Voter, *rows: list[float], **changes: Any) -> list[str]:
    return [vote.label for vote in votes(voter, *rows, **changes)]


def test_a_mean_is_over_the_last_windows_and_speaks_from_its_own_centre_on() -> None:
    told = votes(make_voter(smoothing_windows=2), WALK, SIT, SIT)
    assert told == [Vote("walk", 0.75, 80), Vote("unknown", 0.375, 90), Vote("sit", 0.75, 100)]


def test_a_mean_under_its_labels_threshold_is_unknown() -> None:
    voter = make_voter(unknown_below={"sit": 0.5, "stand": 0.5, "walk": 0.8})
    assert labels(voter, SIT, WALK, UNSURE) == ["sit", "unknown", "unknown"]


def test_a_path_changes_once_the_evidence_is_worth_the_change_and_says_where_it_began() -> None:
    # Each window is worth log(0.9 / 0.05), 2.9 nats.
    voter = make_voter(smoothing="path", smoothing_windows=8, change_cost=8.0)
    told = votes(voter, CLEAR_SIT, CLEAR_SIT, CLEAR_SIT, *[CLEAR_WALK] * 4)
    assert [vote.label for vote in told] == ["sit"] * 5 + ["walk"] * 2
    assert [vote.since for vote in told] == [80] * 5 + [110] * 2
    assert [vote.probability for vote in told[4:]] == pytest.approx([0.56, 0.9, 0.9])


def test_a_path_ignores_what_is_shorter_than_its_evidence_is_worth() -> None:
    voter = make_voter(smoothing="path", smoothing_windows=9, change_cost=8.0)
    rows = {"s": CLEAR_SIT, "w": CLEAR_WALK}
    assert labels(voter, *[rows[letter] for letter in "ssswwssws"]) == ["sit"] * 9


def test_a_path_without_the_margin_is_unknown() -> None:
    voter = make_voter(smoothing="path", smoothing_windows=8, change_cost=8.0, margin=3.0)
    told = labels(voter, CLEAR_SIT, CLEAR_SIT, CLEAR_SIT, *[CLEAR_WALK] * 4)
    assert told == ["unknown", *["sit"] * 3, "unknown", "unknown", "walk"]


def test_a_path_begins_nothing_until_its_lead_is_as_large_as_its_label_is_unlikely() -> None:
    # A clear walk leads by 2.9 nats a window at 0.9; a dim one, by 1.1 at 0.6.
    rules: dict[str, Any] = {
        "smoothing": "path",
        "smoothing_windows": 8,
        "change_cost": 8.0,
        "begin_margin": 4.0,
    }
    told = votes(make_voter(**rules), *[CLEAR_WALK] * 3)
    assert [(vote.label, vote.begins) for vote in told] == [("walk", False), ("walk", True), ("walk", True)]
    told = votes(make_voter(**rules), *[[0.2, 0.2, 0.6]] * 8)
    assert [vote.begins for vote in told] == [False] * 6 + [True] * 2


def test_a_device_that_does_not_move_begins_nothing_for_it_may_lie_on_a_table() -> None:
    voter = make_voter(not_worn={"below_g": 0.013, "for_s": 3600.0, "table_below_g": 0.005})
    told = [voter.push(SIT, centre=80 + i, unrest_g=g) for i, g in enumerate([STILL, 0.005, WORN])]
    assert [(vote.label, vote.begins) for vote in told] == [("sit", False), ("sit", True), ("sit", True)]


def test_a_path_that_is_likely_but_whose_windows_are_not_is_unknown() -> None:
    voter = make_voter(smoothing="path", smoothing_windows=4, change_cost=5.0)
    assert labels(voter, *[UNSURE] * 6) == ["unknown"] * 6


def test_what_a_path_has_changed_to_is_given_time_to_prove_itself() -> None:
    # Likelier than to sit by 1.4 nats a window, and yet under its threshold.
    dim_walk = [0.1, 0.5, 0.4]
    voter = make_voter(
        smoothing="path",
        smoothing_windows=30,
        change_cost=4.0,
        unknown_after_s=2.5,
        unknown_below={"sit": 0.5, "stand": 0.6, "walk": 0.5},
    )
    told = labels(voter, CLEAR_SIT, CLEAR_SIT, CLEAR_SIT, *[dim_walk] * 9)
    changed = told.index("stand")
    assert set(told[:changed]) == {"sit"}
    assert told[changed:] == ["stand"] * (5 - (changed - 3)) + ["unknown"] * 4


def test_one_window_cannot_outvote_a_change_however_sure_it_is() -> None:
    cost = 3 * -math.log(LEAST_PROBABILITY)
    voter = make_voter(smoothing="path", smoothing_windows=8, change_cost=cost)
    sure = [[1.0, 0.0, 0.0]] * 3 + [[0.0, 1.0, 0.0]] * 4
    assert labels(voter, *sure) == ["sit"] * 6 + ["stand"]


def test_a_silenced_label_is_voted_for_as_unknown() -> None:
    for smoothing in ("mean", "path"):
        voter = make_voter({"walk"}, smoothing=smoothing)
        assert labels(voter, SIT, WALK, STAND) == ["sit", "unknown", "stand"]


def test_what_a_wearer_never_does_is_ruled_out_and_at_most_doubles_the_rest() -> None:
    never = np.array([False, False, True])
    told = without(np.array([0.25, 0.375, 0.375], np.float32), never)
    assert told.tolist() == pytest.approx([0.4, 0.6, 0.0])
    assert without(np.array([0.125, 0.0, 0.875], np.float32), never).tolist() == [0.25, 0.0, 0.0]


@pytest.mark.parametrize("smoothing", ["mean", "path"])
def test_what_looks_like_nothing_but_what_is_never_done_is_unknown(smoothing: str) -> None:
    voter = make_voter(
        never={"walk"}, smoothing=smoothing, unknown_below=dict.fromkeys(LABELS, 0.0), margin=0.1
    )
    assert labels(voter, [0.3, 0.1, 0.6]) == ["sit"]
    assert labels(make_voter(never={"sit"}, smoothing=smoothing, margin=0.1), [1.0, 0.0, 0.0]) == ["unknown"]


def test_a_device_that_has_been_still_for_long_is_not_worn_from_when_it_began_to_be() -> None:
    voter = make_voter(not_worn={"below_g": 0.013, "for_s": 60.0})
    assert set(labels(voter, *[SIT] * 120, unrest_g=STILL)) == {"sit"}
    (vote,) = votes(voter, SIT, first=80 + 1200, unrest_g=STILL)
    assert (vote.label, vote.since) == ("not_worn", 80)
    # Windows that hold some of that say nothing else; those behind it do.
    last = 80 + 1200
    assert labels(voter, *[SIT] * 15, first=last + 10, unrest_g=WORN) == ["not_worn"] * 15
    assert labels(voter, SIT, first=last + 160, unrest_g=WORN) == ["sit"]
    assert labels(voter, SIT, first=last + 170, unrest_g=STILL) == ["sit"]


@pytest.mark.parametrize("smoothing", ["mean", "path"])
def test_what_a_device_looked_like_that_was_not_worn_speaks_for_nothing_once_it_is(smoothing: str) -> None:
    voter = make_voter(
        smoothing=smoothing, smoothing_windows=8, change_cost=15.0, not_worn={"below_g": 0.013, "for_s": 60.0}
    )
    votes(voter, *[SIT] * 121, unrest_g=STILL)
    last = 80 + 1200
    assert set(labels(voter, *[SIT] * 15, first=last + 10, unrest_g=WORN)) == {"not_worn"}
    (vote,) = votes(voter, WALK, first=last + 160, unrest_g=WORN)
    assert (vote.label, vote.since) == ("walk", last + 160)


def test_a_manifest_that_does_not_say_how_knows_no_device_that_is_not_worn() -> None:
    assert set(labels(make_voter(), *[SIT] * 300, unrest_g=0.0)) == {"sit"}


def test_reset_forgets_the_windows_so_far() -> None:
    for decision in ({"smoothing": "mean"}, {"smoothing": "path", "change_cost": 15.0}):
        voter = make_voter(smoothing_windows=8, not_worn={"below_g": 0.013, "for_s": 60.0}, **decision)
        first = votes(voter, *[SIT] * 5, WALK, unrest_g=STILL)
        voter.reset()
        assert votes(voter, *[SIT] * 5, WALK, unrest_g=STILL) == first


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=64), st.integers(0, 200))
def test_a_mean_is_that_of_the_exact_sum(column: list[float], pushed: int) -> None:
    kept = np.zeros((len(column), 2), np.float32)
    pushed += len(column)
    for i, value in enumerate(column):
        kept[(pushed - len(column) + i) % len(column), 1] = value
    assert _votes.mean_of_last(kept, pushed, len(column), 1) == math.fsum(column) / len(column)


_probabilities = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8)).map(
        lambda cut: [min(cut) / 8, abs(cut[0] - cut[1]) / 8, (8 - max(cut)) / 8]
    ),
    min_size=1,
    max_size=7,
)


@given(_probabilities, st.sampled_from([0.0, 0.7, 2.9, 7.3, 16.1, 40.7]))
@settings(max_examples=200, deadline=None)
def test_the_likeliest_path_is_the_best_of_all_sequences(rows: list[list[float]], change_cost: float) -> None:
    evidence = [[math.log(max(each, LEAST_PROBABILITY)) for each in row] for row in rows]
    found = likeliest_path(rows, change_cost=change_cost)
    lasts, starts, lead = reference.path(evidence, change_cost=change_cost)
    assert found.label in lasts
    assert found.first in starts
    assert found.lead == pytest.approx(lead, abs=1e-9)


@given(_probabilities, _probabilities, st.sampled_from(["mean", "path"]))
@settings(max_examples=100, deadline=None)
def test_a_vote_depends_on_the_last_windows_alone(
    before: list[list[float]], last: list[list[float]], smoothing: str
) -> None:
    early, late = (
        make_voter(smoothing=smoothing, smoothing_windows=len(last), change_cost=4.1, margin=0.3)
        for _ in range(2)
    )
    votes(early, *before, first=80 - 10 * len(before))
    assert votes(early, *last)[-1] == votes(late, *last)[-1]


MOVING: dict[str, Any] = {"coarse": {"stand": "upright", "walk": "upright"}, "unknown_after_s": 2.0}


def test_kinds_are_named_where_their_labels_are_sure_together() -> None:
    voter = make_voter(**MOVING, coarse_unknown_below={"upright": 0.7})
    told = votes(voter, [0.25, 0.375, 0.375], [0.6, 0.2, 0.2], *[SIT] * 9)
    assert told[0] == Vote("unknown", 0.375, 80, coarse="upright")
    assert {vote.coarse for vote in told[1:]} == {"unknown"}


def test_without_thresholds_no_kind_is_named() -> None:
    assert {vote.coarse for vote in votes(make_voter(**MOVING), WALK, STAND, SIT)} == {"unknown"}


def test_what_is_silenced_speaks_for_no_kind() -> None:
    voter = make_voter({"walk"}, **MOVING, coarse_unknown_below={"upright": 0.7})
    assert votes(voter, [0.0, 0.25, 0.75])[0] == Vote("unknown", 0.75, 80)
