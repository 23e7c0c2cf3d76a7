"""What a wrist can tell: activities with a written definition each, and what every data set calls them.

A set's label stands for the activity whose definition it meets; where a wrist cannot tell (an arm that
rests while the legs exercise) or where the set's label holds several activities, it stands for none.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

COARSE = MappingProxyType(
    {
        "still": "The body stays where it is, and the hands do next to nothing.",
        "walking": "Walking on the level or a slope, turns included.",
        "running": "Running or jogging.",
        "stairs": "Walking up or down stairs.",
        "cycling": "Pedalling, hands on the bars.",
        "exercise": "Gymnastics and machines of a gym, in which the arms take part.",
        "hands_at_work": "Seated or standing, with both hands busy at something.",
        "eating_or_drinking": "Hand to mouth, with or without cutlery.",
        "ball_game": "Throwing, catching, bouncing or kicking a ball.",
    }
)


@dataclass(frozen=True, slots=True)
class Activity:
    """One merged class."""

    name: str
    coarse: str
    definition: str


ACTIVITIES = (
    Activity("resting", "still", "Sitting or lying, arms at rest or nearly so, whatever the legs do."),
    Activity("standing", "still", "Standing on the spot, also in a lift that moves, arms hanging."),
    Activity(
        "walking",
        "walking",
        "Walking, outdoors, indoors or on a treadmill of any slope, turns included, and the second in which "
        "one gets up before or sits down after.",
    ),
    Activity("running", "running", "Jogging or running, also on a treadmill."),
    Activity("stairs", "stairs", "Going up or down stairs, also with the short landings between flights."),
    Activity("cycling", "cycling", "Pedalling a bicycle or an exercise bicycle, upright or lying back."),
    Activity("stepping", "exercise", "On a stepper."),
    Activity("cross_training", "exercise", "On a cross trainer: legs and arms swing against each other."),
    Activity("rowing", "exercise", "Rowing, as on a rowing machine."),
    Activity("jumping", "exercise", "Jumping on the spot."),
    Activity("floor_exercise", "exercise", "On the floor, prone, the arms moving or bearing weight."),
    Activity(
        "shoulder_exercise",
        "exercise",
        "Slow repeated movements of one shoulder, as physiotherapists ask for.",
    ),
    Activity("typing", "hands_at_work", "Typing on a keyboard."),
    Activity("writing", "hands_at_work", "Writing by hand."),
    Activity("brushing_teeth", "hands_at_work", "Brushing teeth with a plain tooth brush."),
    Activity("folding_clothes", "hands_at_work", "Folding clothes."),
    Activity("clapping", "hands_at_work", "Clapping the hands."),
    Activity("eating_with_cutlery", "eating_or_drinking", "Spoon or fork to the mouth and back."),
    Activity("eating_by_hand", "eating_or_drinking", "Fingers to the mouth and back: a sandwich, crisps."),
    Activity("drinking", "eating_or_drinking", "Cup or glass to the mouth and back."),
    Activity("kicking_ball", "ball_game", "Kicking a ball to and fro, with steps between."),
    Activity("playing_catch", "ball_game", "Throwing a ball to someone and catching it."),
    Activity(
        "bouncing_ball", "ball_game", "Bouncing a ball with one hand, standing or moving, as in basketball."
    ),
)

NAMES = tuple(activity.name for activity in ACTIVITIES)
COARSE_OF = MappingProxyType({activity.name: activity.coarse for activity in ACTIVITIES})

MEANING: MappingProxyType[str, MappingProxyType[str, str | None]] = MappingProxyType(
    {
        "wisdm": MappingProxyType(
            {
                "walking": "walking",
                "jogging": "running",
                "stairs": "stairs",
                "sitting": "resting",
                "standing": "standing",
                "typing": "typing",
                "brushing_teeth": "brushing_teeth",
                "eating_soup": "eating_with_cutlery",
                "eating_chips": "eating_by_hand",
                "eating_pasta": "eating_with_cutlery",
                "drinking": "drinking",
                "eating_sandwich": "eating_by_hand",
                "kicking_ball": "kicking_ball",
                "playing_catch": "playing_catch",
                "dribbling_ball": "bouncing_ball",
                "writing": "writing",
                "clapping": "clapping",
                "folding_clothes": "folding_clothes",
            }
        ),
        "dsads": MappingProxyType(
            {
                "sitting": "resting",
                "standing": "standing",
                "lying_on_back": "resting",
                "lying_on_side": "resting",
                "ascending_stairs": "stairs",
                "descending_stairs": "stairs",
                "standing_in_elevator": "standing",
                "moving_in_elevator": None,  # steps, turns and standing about in one
                "walking_in_parking_lot": "walking",
                "walking_on_treadmill": "walking",
                "walking_on_inclined_treadmill": "walking",
                "running_on_treadmill": "running",
                "stepping": "stepping",
                "cross_training": "cross_training",
                "cycling_lying": "cycling",
                "cycling_upright": "cycling",
                "rowing": "rowing",
                "jumping": "jumping",
                "playing_basketball": "bouncing_ball",
            }
        ),
        "geotec": MappingProxyType(
            {
                "seated": "resting",
                # Over in 1.2 s, and here how a walk begins and ends.
                "standing_up": "walking",
                "walking": "walking",
                "turning": "walking",
                "sitting_down": "walking",
            }
        ),
        "mex": MappingProxyType(
            {
                # Lying, and the arm rests.
                "knee_rolling": "resting",
                "bridging": "resting",
                "pelvic_tilt": "resting",
                "bilateral_clam": "resting",
                "repeated_extension_in_lying": "floor_exercise",
                "prone_punches": "floor_exercise",
                "superman": "floor_exercise",
            }
        ),
        "spar": MappingProxyType(
            dict.fromkeys(
                (
                    "pendulum",
                    "abduction",
                    "forward_elevation",
                    "internal_rotation",
                    "external_rotation",
                    "trapezius",
                    "row",
                ),
                "shoulder_exercise",
            )
        ),
        # Most are over in a moment, or are several things in one.
        "weda": MappingProxyType(
            {
                "walking": "walking",
                "jogging": "running",
                "stairs": "stairs",
                "sitting_down_and_getting_up": None,
                "collapsing_into_a_chair": None,
                "tying_shoes": None,
                "stumbling": None,
                "jumping_gently": None,
                "hitting_a_table": None,
                "clapping": "clapping",
                "opening_a_door": None,
            }
        ),
    }
)
"""By data set and its own label."""


def markdown() -> str:
    """Both levels with their definitions and the sets' own labels, for the documentation."""
    rows = ["| coarse | what it means |", "|---|---|"]
    rows += [f"| `{name}` | {meaning} |" for name, meaning in COARSE.items()]
    rows += ["", "| activity | coarse | what it means | what the sets call it |", "|---|---|---|---|"]
    for activity in ACTIVITIES:
        origins = [
            f"{kind}: {', '.join(own)}"
            for kind, meaning in MEANING.items()
            if (own := [label for label, name in meaning.items() if name == activity.name])
        ]
        rows.append(
            f"| `{activity.name}` | {activity.coarse} | {activity.definition} | {'; '.join(origins)} |"
        )
    left = [
        f"{kind}: {label}" for kind, own in MEANING.items() for label, name in own.items() if name is None
    ]
    return "\n".join([*rows, "", f"Of no class: {', '.join(left)}."])
