"""`devices`: what people want of single devices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat

from vskd_stream.lifecycle import Preferences
from vskd_stream.settings.section import Section
from vskd_stream.settings.values import Label

Seconds = Annotated[StrictFloat, Field(ge=0.0, le=3600.0)]
PerLabel = Annotated[dict[Label, Seconds], Field(max_length=256)]


class Device(Section):
    """What people want of one device, over what its model's manifest says of every device."""

    wrist: Literal["left", "right"] | None = None
    """Which wrist wears it; told with its events and states."""
    hold_s: PerLabel = {}
    """Per activity: one that comes back within so many seconds has never ended (driving, at a traffic
    light). It is held only against activities with a shorter hold, and not over a gap."""
    minimum_s: PerLabel = {}
    """Per activity: one that is shorter than so many seconds is never told."""
    silence: StrictBool | Annotated[tuple[Label, ...], Field(min_length=1, max_length=256)] = False
    """`true`: nothing is told of the device but that it is silenced. Activities: those are told as
    `unknown`, as if the model were not sure, and no scores are published of the device."""

    never: Annotated[tuple[Label, ...], Field(max_length=256)] = ()
    """Activities that its wearer never does (rowing, playing catch): they are ruled out, and what looks
    like one is told as what it looks like next, or as `unknown` if that is little. Scores are as ever."""

    @property
    def preferences(self) -> Preferences:
        """As the rest of the program takes them."""
        return Preferences(
            minimum_s=self.minimum_s,
            hold_s=self.hold_s,
            silenced=frozenset() if isinstance(self.silence, bool) else frozenset(self.silence),
            never=frozenset(self.never),
            silent=self.silence is True,
            wrist=self.wrist,
        )
