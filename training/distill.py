"""The task of distillation: a student learns from labels and from what others say of the same trial.

The teacher is arrays, looked up by the number of the trial that the student sees: nothing of it can
learn, and no batch can be paired wrongly. Assistants are asked about the very input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from training import losses
from training.assistants import Assistants
from training.comparators import contrast, features, logits, relations
from training.methods import Method, Term
from training.networks import Network
from training.teaching import Lessons, TeacherError
from training.trials import UNKNOWN

_QUEUE = 256
_EMBEDDING = 128
_NEGATIVES = 128
_NEED_TAP_SIZE: frozenset[Term] = frozenset({"semantic", "softmaxed"})


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A batch as both sides see it; everything float32."""

    labels: Tensor
    logits: Tensor
    tap: Tensor
    maps: Tensor
    teacher_logits: Tensor
    teacher_tap: Tensor
    teacher_maps: Tensor | None
    asked: Tensor
    """(b,) numbers of the trials that the teacher was asked about."""


class Distillation(nn.Module):
    """Cross-entropy and a method's terms; its ``student`` is what is shipped.

    Args:
        student: What learns.
        lessons: The teacher's answers to all training trials; None only for a method that asks no teacher.
        assistants: None only for a method that asks none.
        method: Which terms, and how much of each.
        label_smoothing: Of the cross-entropy.

    Raises:
        TeacherError: The method needs what the teacher does not have.
    """

    teacher_logits: Tensor
    teacher_features: Tensor
    queue: Tensor
    queue_at: Tensor

    def __init__(
        self,
        student: Network,
        lessons: Lessons | None,
        *,
        assistants: Assistants | None = None,
        method: Method,
        label_smoothing: float,
    ) -> None:
        super().__init__()
        self.student = student
        self.method = method
        self.label_smoothing = label_smoothing
        if method.asks_assistants and assistants is None:
            raise TeacherError("(none)", "assistants are asked: name them in the experiment")
        # Nothing of theirs is learned, nor kept in the checkpoint.
        self._assistants = assistants if method.asks_assistants else None
        if not method.asks_teacher:
            return
        if lessons is None:
            raise TeacherError("(none)", f"{sorted(method.terms)} need one: name it in the experiment")
        size, taught = student.tap.out_features, lessons.features.shape[1]
        if _NEED_TAP_SIZE & method.terms.keys() and size != taught:
            raise TeacherError("tap", f"it has {taught} features, the student {size}: they must be equal")
        if "attention" in method.terms and lessons.maps is None:
            raise TeacherError("maps", "attention is transferred between maps, and this teacher left none")
        for name, array in (
            ("logits", lessons.logits),
            ("features", lessons.features),
            ("maps", lessons.maps),
        ):
            value = None if array is None else torch.from_numpy(array)
            # Not in the checkpoint: the teacher is an input of the run, not its outcome.
            self.register_buffer(f"teacher_{name}", value, persistent=False)
        if {"hint", "queued"} & method.terms.keys():
            self.regressor = nn.Linear(size, taught)
        if "queued" in method.terms:
            # Empty rows would be other trials of a kind that there is not.
            self.register_buffer("queue", torch.zeros(min(_QUEUE, len(lessons.logits)), taught))
            self.register_buffer("queue_at", torch.zeros((), dtype=torch.int64))
        if "contrastive" in method.terms:
            self.student_head = nn.Linear(size, _EMBEDDING)
            self.teacher_head = nn.Linear(taught, _EMBEDDING)

    def forward(self, seen: Tensor, labels: Tensor, trials: Tensor, windows: Tensor) -> dict[str, Tensor]:
        """What a batch comes to: a scalar "loss", (b, classes) "logits", and each term.

        Args:
            seen: By the student: (b, channels, h, w) images in [-1, 1], or ``windows``.
            labels: (b,) int64; of those ``UNKNOWN`` nothing is learned but what assistants say.
            trials: (b,) int64, rows of the lessons.
            windows: (b, 3, n) in g, of which the images were made.
        """
        advice = None
        if self._assistants is not None:
            advice = self._assistants.ask(seen, windows, temperature=self.method.temperature)
        maps = self.student.maps(seen)
        tap = self.student.embed(maps)
        # Distances between close taps drown in bfloat16's eight bits.
        told, tap, maps = self.student.answer(tap).float(), tap.float(), maps.float()
        with torch.autocast(seen.device.type, enabled=False):
            entropy = F.cross_entropy(
                told, labels, ignore_index=UNKNOWN, label_smoothing=self.label_smoothing
            )
            result = {"logits": told, "cross_entropy": entropy}
            loss = self.method.cross_entropy * entropy
            if advice is not None:
                result["assisted"] = losses.soft_target(told, advice, self.method.temperature)
            if self.method.asks_teacher:
                pair = self._pair(labels, told, tap, maps, trials)
                result |= {name: _TERMS[name](self, pair) for name in self.method.terms if name in _TERMS}
                self._enqueue(pair)
            for name, weight in self.method.terms.items():
                loss = loss + weight * result[name]
        return {**result, "loss": loss}

    @torch.no_grad()
    def _asked(self, trials: Tensor) -> Tensor:
        if self.method.pairing == "trial":
            return trials
        count = len(self.teacher_logits)
        return (trials + torch.randint(1, count, trials.shape)) % count

    def _pair(self, labels: Tensor, told: Tensor, tap: Tensor, maps: Tensor, trials: Tensor) -> _Pair:
        asked = self._asked(trials)
        teacher_maps = getattr(self, "teacher_maps", None)
        return _Pair(
            labels=labels,
            logits=told,
            tap=tap,
            maps=maps,
            teacher_logits=self.teacher_logits[asked],
            teacher_tap=self.teacher_features[asked],
            teacher_maps=None if teacher_maps is None else teacher_maps[asked],
            asked=asked,
        )

    @torch.no_grad()
    def _enqueue(self, pair: _Pair) -> None:
        if "queued" not in self.method.terms or not self.training:
            return
        size, start = len(self.queue), int(self.queue_at)
        rows = (torch.arange(len(pair.teacher_tap)) + start) % size
        self.queue[rows] = pair.teacher_tap
        self.queue_at.fill_(start + len(rows))

    def queued(self, pair: _Pair) -> Tensor:
        """COMODO's term; the batch itself until the queue has filled once."""
        filled = min(int(self.queue_at), len(self.queue))
        queue = self.queue[:filled] if filled else pair.teacher_tap
        return contrast.queued(self.regressor(pair.tap), pair.teacher_tap, queue)

    def contrastive(self, pair: _Pair) -> Tensor:
        """CRD's term; negatives are any other training trials."""
        count = len(self.teacher_features)
        drawn = (pair.asked[:, None] + torch.randint(1, count, (len(pair.asked), _NEGATIVES))) % count
        return contrast.contrastive(
            self.student_head(pair.tap),
            self.teacher_head(pair.teacher_tap),
            self.teacher_head(self.teacher_features[drawn]),
            population=count,
        )


def _maps(pair: _Pair) -> Tensor:
    assert pair.teacher_maps is not None  # refused when the task was made
    return pair.teacher_maps


def _correct(task: Distillation, pair: _Pair) -> Tensor:
    weights = logits.correctness(pair.teacher_logits, pair.labels)
    return losses.soft_target(pair.logits, pair.teacher_logits, task.method.temperature, weights=weights)


_TERMS: dict[Term, Callable[[Distillation, _Pair], Tensor]] = {
    "soft_target": lambda t, p: losses.soft_target(p.logits, p.teacher_logits, t.method.temperature),
    "soft_target_correct": _correct,
    "standardised": lambda t, p: logits.standardised(
        p.logits, p.teacher_logits, temperature=t.method.temperature
    ),
    "decoupled": lambda t, p: logits.decoupled(
        p.logits, p.teacher_logits, p.labels, temperature=t.method.temperature
    ),
    "stronger": lambda _, p: logits.stronger(p.logits, p.teacher_logits, temperature=1.0),
    "hint": lambda t, p: features.hint(t.regressor(p.tap), p.teacher_tap),
    "attention": lambda _, p: features.attention(p.maps, _maps(p)),
    "softmaxed": lambda t, p: features.softmaxed(p.tap, p.teacher_tap, temperature=t.method.temperature),
    "distance": lambda _, p: losses.relational_distance(p.tap, p.teacher_tap),
    "angle": lambda _, p: losses.relational_angle(p.tap, p.teacher_tap),
    "semantic": lambda _, p: losses.semantic(p.tap, p.teacher_tap),
    "similarity": lambda _, p: relations.similarity_preserving(p.tap, p.teacher_tap),
    "congruence": lambda _, p: relations.correlation_congruence(p.tap, p.teacher_tap),
    "probabilistic": lambda _, p: relations.probabilistic(p.tap, p.teacher_tap),
    "queued": lambda t, p: t.queued(p),
    "contrastive": lambda t, p: t.contrastive(p),
}
