"""The manifest of a model bundle: every encoder and decision parameter, and where they came from.

A configuration may name a bundle; it never overrides what stands here.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from vskd_stream.image import ImageSpec
from vskd_stream.mounting import LEAST_WINDOW_S

SCHEMA_VERSION = 1
UNKNOWN = "unknown"
NO_DATA = "no_data"
GAP = "gap"
NOT_WORN = "not_worn"
SILENCED = "silenced"
UNITS_SUSPECT = "units_suspect"
STATES = (UNKNOWN, NO_DATA, GAP, NOT_WORN, SILENCED, UNITS_SUSPECT)
"""What may be told in a label's place when there is no label to tell; no model's label is one of these."""

_ROUNDING = 1e-3

Label = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Pause = Annotated[float, Field(ge=0.0, le=3600.0)]
"""Seconds that something must last before it counts."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stillness(_Frozen):
    """When a device is not worn: nobody holds a wrist so still for so long (van Hees et al. 2013)."""

    below_g: float = Field(gt=0.0, le=0.1)
    """The standard deviation of each axis within a window must be under this."""
    for_s: float = Field(ge=10.0, le=86_400.0)
    """Of every window for so long."""
    table_below_g: float = Field(default=0.0, ge=0.0, le=0.1)
    """No activity begins with a window in which each axis stays under this standard deviation: a device that
    lies on a table looks so as well; 0: that is never in doubt."""


class Decision(_Frozen):
    """How scores become events; all times are stream time."""

    smoothing: Literal["mean", "path"] = "mean"
    """A window's vote: the label of the largest mean probability, or the one in which the likeliest
    path through the last windows ends."""
    smoothing_windows: int = Field(ge=1, le=256)
    """The mean or the path is over this many windows, the last ones."""
    change_cost: float = Field(default=0.0, ge=0.0, le=1000.0)
    """Evidence in nats that a change of label costs a path."""
    margin: float = Field(default=0.0, ge=0.0, le=1000.0)
    """Evidence in nats by which the likeliest path must lead those to other labels; else the vote is
    ``unknown``."""
    begin_margin: float = Field(default=0.0, ge=0.0, le=1000.0)
    """Evidence in nats to which that lead, times the label's mean probability, must come before its activity
    begins: what is less likely must prove itself for longer. What goes on needs no more than ``margin``."""
    unknown_below: dict[Label, Probability]
    """Per label: where its mean probability is under this, the vote is ``unknown``. That is the mean over
    ``smoothing_windows``; or over the windows of the last ``unknown_after_s`` for which the path has had
    this label and that lie behind where it began, and if the path has changed to it, once that is so long."""
    switch_after_s: float = Field(ge=0.0, le=60.0)
    """Another label must win every vote for so long before the activity changes."""
    unknown_after_s: float = Field(default=10.0, gt=0.0, le=3600.0)
    """When nothing has been decided for so long, the activity is ``unknown``."""
    minimum_s: dict[Label, Pause] = {}
    """Per label: an activity that is shorter than this is never told; absent: 0."""
    hold_s: dict[Label, Pause] = {}
    """Per label: an activity that comes back within this time has never ended; absent: 0."""
    update_every_s: float = Field(gt=0.0, le=3600.0)
    """An activity that goes on is reported again this often."""
    coarse: dict[Label, Label] = {}
    """Per label: the coarser one that it is a kind of; absent: itself."""
    coarse_unknown_below: dict[Label, Probability] = {}
    """Per coarse label: where the sum of its labels' probabilities, over the windows of the last
    ``unknown_after_s``, has a mean of at least this, an activity that is ``unknown`` is told to be a kind
    of it; empty: an unknown activity is of no kind."""
    not_worn: Stillness | None = None
    """None: a device that lies about is not recognised as such."""


class Dataset(_Frozen):
    """A set of recordings the model learned from."""

    name: str = Field(min_length=1, max_length=200)
    licence: str = Field(min_length=1, max_length=200)
    attribution: str = Field(min_length=1, max_length=2000)
    subjects: tuple[str, ...]
    """Subjects trained on; whoever is not listed was not seen."""


class Manifest(_Frozen):
    """What a bundle promises. Version 1."""

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    labels: tuple[Label, ...] = Field(min_length=2, max_length=256)
    sampling_rate_hz: float = Field(ge=1.0, le=1000.0)
    window_samples: int = Field(ge=8, le=4096)
    hop_samples: int = Field(ge=1, le=4096)
    max_gap_s: float = Field(gt=0.0, le=5.0)
    """A longer hole between two samples breaks the stream; a shorter one is interpolated."""
    hanging: tuple[float, float, float] | None = None
    """Where gravity points while a wearer's arm hangs, as a unit vector in the watch's axes; of x the sign is
    the wrist's, of y which way round the watch is strapped on. A watch that shows another direction has its
    windows turned to it (``mounting``); None: never."""
    image: ImageSpec
    temperature: float = Field(ge=0.01, le=100.0)
    """The graph's logits are divided by this before the softmax (temperature scaling)."""
    decision: Decision
    precision: Literal["fp32", "int8"]
    golden_tolerance: float = Field(gt=0.0, le=0.1)
    """Largest allowed difference of a golden probability on another machine."""
    graph_bytes: int = Field(gt=0)
    """Length of the ONNX graph at the start of the file; the metadata follows it."""
    graph_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    trained_on: tuple[Dataset, ...]
    card: str = Field(max_length=100_000)
    """Markdown: what the model is for, how well it does by class, and where it fails."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels repeat")
        if reserved := set(STATES).intersection([*self.labels, *self.decision.coarse.values()]):
            raise ValueError(f"labels {sorted(reserved)} are reserved for states of the stream")
        if set(self.decision.unknown_below) != set(self.labels):
            raise ValueError("decision.unknown_below needs exactly one threshold per label")
        for name in ("minimum_s", "hold_s", "coarse"):
            if strange := set(getattr(self.decision, name)).difference(self.labels):
                raise ValueError(f"decision.{name} names {sorted(strange)}, which are no labels")
        kinds = {self.decision.coarse.get(label, label) for label in self.labels}
        if strange := set(self.decision.coarse_unknown_below).difference(kinds):
            raise ValueError(f"decision.coarse_unknown_below names {sorted(strange)}, no coarse labels")
        if self.hop_samples > self.window_samples:
            raise ValueError("hop_samples exceeds window_samples: samples between would be lost")
        if self.hanging is not None:
            if abs(math.hypot(*self.hanging) - 1.0) > _ROUNDING:
                raise ValueError(f"hanging has the length {math.hypot(*self.hanging):.3f}, not 1")
            if self.window_s < LEAST_WINDOW_S:
                raise ValueError(f"hanging needs windows of {LEAST_WINDOW_S:g} s, to tell a walk")
        if self.image.size > self.window_samples:
            raise ValueError("image.size exceeds window_samples")
        return self

    @property
    def max_widening(self) -> int:
        """So many hops, a power of two, may lie between two windows that no sample goes unseen."""
        return 1 << (self.window_samples // self.hop_samples).bit_length() - 1

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self.window_samples / self.sampling_rate_hz
