"""Methods of distillation by name: which terms, how much of each. What a table compares stands here.

Weights are those of the papers or of their authors' code, where the term is the same; ``cc`` is
weighed so that its term is of the cross-entropy's order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Term = Literal[
    "soft_target", "soft_target_correct", "standardised", "decoupled", "stronger",
    "hint", "attention", "softmaxed",
    "distance", "angle", "semantic",
    "similarity", "congruence", "probabilistic", "queued", "contrastive",
    "assisted",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Method:
    """Terms beside the cross-entropy, each with its weight."""

    terms: dict[Term, float] = field(default_factory=dict)
    cross_entropy: float = 1.0
    temperature: float = 4.0
    """Of soft targets."""
    mixed: float = 0.0
    """Part of a batch that is motion nobody made: blends of two trials, of which only assistants can say
    anything."""
    pairing: Literal["trial", "shuffled"] = "trial"
    """"shuffled": the teacher is asked about any trial but the student's, as in the released code: a
    negative control."""

    @property
    def identity(self) -> str:
        """What runs of it are known by: what all runs had before there was a choice is left out."""
        chosen = f", mixed={self.mixed!r}" if self.mixed else ""
        return (
            f"Method(terms={self.terms!r}, cross_entropy={self.cross_entropy!r}, "
            f"temperature={self.temperature!r}, pairing={self.pairing!r}{chosen})"
        )

    def __post_init__(self) -> None:
        if self.mixed and (self.asks_teacher or not self.asks_assistants):
            raise ValueError("only assistants can say anything of blends that nobody recorded")

    @property
    def asks_teacher(self) -> bool:
        """Whether a teacher's answers to recorded trials are needed."""
        return bool(self.terms.keys() - {"assisted"})

    @property
    def asks_assistants(self) -> bool:
        """Whether sensor networks are asked about what the student sees."""
        return "assisted" in self.terms


_DASK: dict[Term, float] = {"soft_target": 0.01, "distance": 1.0, "angle": 1.0, "semantic": 1.0}

METHODS: dict[str, Method] = {
    "alone": Method(),
    "kd": Method({"soft_target": 0.7}, cross_entropy=0.3, temperature=2.0),
    "kd-correct": Method({"soft_target_correct": 0.7}, cross_entropy=0.3, temperature=2.0),
    "kd-standardised": Method({"standardised": 9.0}, cross_entropy=0.1, temperature=2.0),
    "dkd": Method({"decoupled": 1.0}),
    "dist": Method({"stronger": 1.0}, temperature=1.0),
    "fitnet": Method({"hint": 1.0}),
    "at": Method({"attention": 1000.0}),
    "feature-kl": Method({"softmaxed": 1.0}, temperature=4.5),
    "sp": Method({"similarity": 3000.0}),
    "cc": Method({"congruence": 10.0}),
    "rkd": Method({"distance": 1.0, "angle": 2.0}),
    "pkt": Method({"probabilistic": 30_000.0}),
    "crd": Method({"contrastive": 0.8}),
    "comodo": Method({"queued": 1.0}),
    "dask": Method(_DASK),
    "dask-unpaired": Method(_DASK, pairing="shuffled"),
    "kd-unpaired": Method({"soft_target": 0.7}, cross_entropy=0.3, temperature=2.0, pairing="shuffled"),
    "kd+queue": Method({"soft_target": 0.7, "queued": 0.5}, cross_entropy=0.3, temperature=2.0),
    "kd+dist": Method({"soft_target": 0.7, "stronger": 1.0}, cross_entropy=0.3, temperature=2.0),
    "assisted": Method({"assisted": 0.7}, cross_entropy=0.3, temperature=2.0),
    "assisted-mixed": Method({"assisted": 0.7}, cross_entropy=0.3, temperature=2.0, mixed=0.5),
    "dask+kd": Method({**_DASK, "soft_target": 0.7}, cross_entropy=0.3, temperature=2.0),
}
