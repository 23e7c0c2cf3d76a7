from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.manifests import manifest as tiny_manifest
from vskd_stream.lifecycle import NO_PREFERENCES, Change, Lifecycle, Preferences
from vskd_stream.votes import Vote

LABELS = ("drive", "stand", "walk")
NAMES = {"d": "drive", "s": "stand", "w": "walk", "?": "unknown", "n": "not_worn"}
HOP_S = 0.5


def lifecycle(preferences: Preferences = NO_PREFERENCES, **decision: Any) -> Lifecycle:
    """20 Hz, a window every 0.5 s; unless told otherwise every vote decides, and 5 s without are doubt."""
    rules = {
        "smoothing_windows": 1,
        "switch_after_s": 0.0,
        "unknown_after_s": 5.0,
        "update_every_s": 60.0,
        "unknown_below": dict.fromkeys(LABELS, 0.5),
    }
    return Lifecycle(tiny_manifest(labels=LABELS, decision=rules | decision), preferences)


def follow(machine: Lifecycle, votes: str, *, since: dict[int, int] | None = None) -> list[Change]:
    """One letter a window, the first at 0, a capital one where that is too weak for its label to begin with.

    ``since`` where a vote speaks for more than its own window.
    """
    changes = []
    for i, letter in enumerate(votes):
        centre = 10 * i
        since_then = (since or {}).get(centre, centre)
        vote = Vote(NAMES[letter.lower()], 0.75, since_then, begins=not letter.isupper())
        change = machine.push(vote, centre=centre)
        changes += [change] if change is not None else []
    return changes


def brief(changes: list[Change]) -> list[tuple[int, str, int]]:
    """Where the one before ended, what started, where."""
    return [(change.end, change.started.label, change.started.start) for change in changes]


def test_a_label_prevails_once_it_has_won_every_vote_for_switch_after_s() -> None:
    machine = lifecycle(switch_after_s=1.0)
    assert brief(follow(machine, "ddd")) == [(0, "drive", 0)]
    assert brief(follow(lifecycle(switch_after_s=1.0), "dddwwdwwd")) == [(0, "drive", 0)]
    assert brief(follow(lifecycle(switch_after_s=1.0), "dddwww")) == [(0, "drive", 0), (30, "walk", 30)]


def test_what_is_too_weak_to_begin_with_is_unknown_but_what_goes_on_goes_on_by_it() -> None:
    assert brief(follow(lifecycle(), "WWWw" + 50 * "W")) == [(30, "walk", 30)]
    assert brief(follow(lifecycle(), "d" + 12 * "W")) == [(0, "drive", 0), (10, "unknown", 10)]
    assert brief(follow(lifecycle(), "dWWWwW", since={40: 10})) == [(0, "drive", 0), (10, "walk", 10)]


def test_an_activity_shorter_than_its_minimum_is_never_told() -> None:
    changes = follow(lifecycle(minimum_s={"stand": 5.0}), "ddd" + 10 * "s" + "ddd")
    assert brief(changes) == [(0, "drive", 0)]


def test_an_activity_as_long_as_its_minimum_is_told_from_its_true_start() -> None:
    changes = follow(lifecycle(minimum_s={"stand": 5.0}), "ddd" + 11 * "s")
    assert brief(changes) == [(0, "drive", 0), (30, "stand", 30)]


def test_unsure_windows_do_not_begin_a_minimum_anew() -> None:
    changes = follow(lifecycle(minimum_s={"stand": 5.0}), "dddsssss??ssss")
    assert brief(changes) == [(0, "drive", 0), (30, "stand", 30)]


def test_short_activities_that_take_turns_are_unknown_in_the_end() -> None:
    changes = follow(lifecycle(minimum_s={"stand": 5.0, "walk": 5.0}), "ddd" + 4 * "ssssswwwww")
    assert brief(changes) == [(0, "drive", 0), (30, "unknown", 30)]


def test_a_traffic_light_does_not_end_driving_that_is_held() -> None:
    machine = lifecycle(hold_s={"drive": 60.0})
    assert brief(follow(machine, "ddd" + 119 * "s" + "ddd")) == [(0, "drive", 0)]


def test_a_held_activity_that_does_not_come_back_ended_where_it_was_left() -> None:
    machine = lifecycle(hold_s={"drive": 60.0})
    changes = follow(machine, "ddd" + 40 * "s" + 90 * "w")
    assert brief(changes) == [(0, "drive", 0), (30, "walk", 430)]


def test_a_held_activity_ends_before_what_in_hindsight_began_before_it_was_left() -> None:
    changes = follow(lifecycle(hold_s={"drive": 10.0}), "ddd" + 20 * "s" + "w", since={230: 20})
    assert brief(changes) == [(0, "drive", 0), (20, "walk", 20)]


def test_a_held_activity_that_comes_back_is_held_anew() -> None:
    machine = lifecycle(hold_s={"drive": 10.0})
    assert brief(follow(machine, "ddd" + 4 * (15 * "s" + "dd"))) == [(0, "drive", 0)]


def test_an_activity_is_not_held_against_one_with_as_long_a_hold() -> None:
    for hold_s, switches in [({"drive": 60.0, "walk": 60.0}, 2), ({"drive": 60.0, "walk": 59.0}, 1)]:
        changes = follow(lifecycle(hold_s=hold_s), "dddwwddd")
        assert len(changes) == (3 if switches == 2 else 1)


def test_an_activity_is_held_against_doubt() -> None:
    changes = follow(lifecycle(hold_s={"drive": 30.0}), "ddd" + 50 * "?" + "dd")
    assert brief(changes) == [(0, "drive", 0)]


def test_what_one_device_prefers_comes_before_what_its_model_says() -> None:
    votes = "ddd" + 9 * "s" + "ddd"
    assert len(follow(lifecycle(minimum_s={"stand": 5.0}), votes)) == 1
    assert len(follow(lifecycle(Preferences(minimum_s={"stand": 0.0}), minimum_s={"stand": 5.0}), votes)) == 3
    assert len(follow(lifecycle(Preferences(hold_s={"drive": 60.0})), votes)) == 1


def test_nothing_established_for_unknown_after_s_is_unknown_from_where_the_doubt_began() -> None:
    assert brief(follow(lifecycle(), "ddd" + 10 * "?")) == [(0, "drive", 0)]
    assert brief(follow(lifecycle(), "ddd" + 11 * "?")) == [(0, "drive", 0), (30, "unknown", 30)]


def test_a_label_that_comes_back_after_doubt_starts_anew() -> None:
    changes = follow(lifecycle(), "ddd" + 15 * "?" + "d")
    assert brief(changes) == [(0, "drive", 0), (30, "unknown", 30), (180, "drive", 180)]


def test_votes_that_keep_changing_are_unknown() -> None:
    changes = follow(lifecycle(switch_after_s=1.0), "ddd" + 10 * "wd")
    assert brief(changes) == [(0, "drive", 0), (30, "unknown", 30)]


def test_hindsight_moves_a_start_but_not_behind_what_has_been_told() -> None:
    assert brief(follow(lifecycle(), "dddww", since={30: 10})) == [(0, "drive", 0), (10, "walk", 10)]
    assert brief(follow(lifecycle(), "dddww", since={30: -50})) == [(0, "drive", 0), (10, "walk", 10)]


def test_confidence_is_the_mean_over_the_votes_for_the_label_held_or_not() -> None:
    machine = lifecycle(hold_s={"drive": 60.0})
    for i, (letter, probability) in enumerate([("d", 0.5), ("s", 1.0), ("d", 1.0)]):
        machine.push(Vote(NAMES[letter], probability, 10 * i), centre=10 * i)
    assert machine.activity is not None
    assert machine.activity.confidence == 0.75


def test_states_have_no_confidence() -> None:
    for votes in ("n", 11 * "?"):
        machine = lifecycle()
        follow(machine, votes)
        assert machine.activity is not None
        assert machine.activity.confidence is None


def test_votes_that_are_forgotten_leave_the_activity_as_it_is() -> None:
    machine = lifecycle(switch_after_s=1.0)
    follow(machine, "dddww")
    machine.forget_votes()
    assert machine.activity is not None
    assert machine.push(Vote("walk", 0.75, 50), centre=50) is None


_seconds = st.sampled_from([0.0, 2.0, 4.0, 10.0])
_rules = st.fixed_dictionaries(
    {
        "switch_after_s": st.sampled_from([0.0, 1.0]),
        "unknown_after_s": st.sampled_from([1.0, 5.0]),
        "minimum_s": st.dictionaries(st.sampled_from(LABELS), _seconds),
        "hold_s": st.dictionaries(st.sampled_from(LABELS), _seconds),
    }
)
_votes = st.lists(st.tuples(st.sampled_from("dsw?n"), st.integers(1, 25)), max_size=14).map(
    lambda runs: "".join(letter * times for letter, times in runs)
)


@given(_rules, _votes)
@settings(max_examples=200, deadline=None)
def test_activities_start_one_after_the_other_and_end_before_the_next_starts(
    rules: dict[str, Any], votes: str
) -> None:
    changes = follow(lifecycle(**rules), votes)
    assert all(change.ended is None for change in changes[:1])
    for one, other in pairwise(changes):
        assert other.ended == one.started
        assert one.started.start < other.end <= other.started.start
        assert one.started.label != other.started.label


@given(_rules, _votes, _votes, st.text("dsw?n", min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_two_pasts_come_to_the_same_activity_whatever_goes_on_for_ever(
    rules: dict[str, Any], one: str, other: str, pattern: str
) -> None:
    machines = lifecycle(**rules), lifecycle(**rules)
    holds = rules["hold_s"].values()
    least_s = 2 * max([rules["switch_after_s"], *rules["minimum_s"].values()])
    bound_s = sum(holds) + 3 * max(least_s, rules["unknown_after_s"]) + max([0.0, *holds])
    n = int(bound_s / HOP_S) + 4 * len(pattern)
    after = (pattern * n)[: 2 * n]
    follow(machines[0], one)
    follow(machines[1], other)
    labels: list[list[str | None]] = [[], []]
    begin = 10 * max(len(one), len(other))
    for i, letter in enumerate(after):
        for machine, told in zip(machines, labels, strict=True):
            centre = begin + 10 * i
            machine.push(Vote(NAMES[letter], 0.75, centre), centre=centre)
            told.append(machine.activity.label if machine.activity else None)
    assert labels[0][n:] == labels[1][n:]


@pytest.mark.parametrize("pattern", ["d" * 30 + "w" * 30, "dw", "d" * 8 + "w" * 5 + "s" * 8])
def test_two_labels_cannot_hold_each_other_off_for_ever(pattern: str) -> None:
    rules: dict[str, Any] = {"hold_s": {"drive": 60.0, "walk": 60.0, "stand": 20.0}}
    one, other = lifecycle(**rules), lifecycle(**rules)
    follow(one, "d")
    follow(other, "w")
    for i, letter in enumerate(pattern * 20):
        for machine in (one, other):
            machine.push(Vote(NAMES[letter], 0.75, 100 + 10 * i), centre=100 + 10 * i)
    assert one.activity is not None
    assert other.activity is not None
    assert (one.activity.label, one.activity.start) == (other.activity.label, other.activity.start)


def kinds(named: str) -> list[tuple[int, str | None]]:
    """What is told of votes that are all unsure, one letter a window: where it starts, and of which kind."""
    machine = lifecycle()
    told = []
    for i, letter in enumerate(named):
        vote = Vote("unknown", 0.4, 10 * i, coarse={"m": "moving", "r": "resting", "?": "unknown"}[letter])
        change = machine.push(vote, centre=10 * i)
        told += [(change.started.start, change.started.coarse)] if change is not None else []
    return told


def test_what_is_unknown_is_of_the_kind_that_two_thirds_of_the_votes_name() -> None:
    assert kinds("m" * 11) == [(0, "moving")]
    assert kinds("mm?mm?mm?mm") == [(0, "moving")]
    assert kinds("mmmmm??????") == [(0, None)]
    assert kinds("mrmrmrmrmrmr?") == [(0, None)]


def test_a_kind_gives_way_to_none_and_then_to_another() -> None:
    assert [kind for _, kind in kinds("m" * 11 + "r" * 11)] == ["moving", None, "resting"]


@given(st.text("mr?", max_size=40), st.text("mr?", max_size=40), st.text("mr?", min_size=11, max_size=20))
def test_whoever_starts_later_soon_tells_the_same_kind(one: str, other: str, common: str) -> None:
    last = [kinds("?" * 11 + before + common) for before in (one, other)]
    assert last[0][-1][1] == last[1][-1][1]
