"""Slow oracles of the losses: plain Python loops over numbers, written from the papers' formulas alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = Sequence[float]
Matrix = Sequence[Vector]


def softmax(values: Vector) -> list[float]:
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def kl(wanted: Vector, told: Vector) -> float:
    return sum(w * math.log(w / t) for w, t in zip(wanted, told, strict=True) if w > 0)


def dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def norm(a: Vector) -> float:
    return math.sqrt(dot(a, a))


def unit(a: Vector) -> list[float]:
    return [x / max(norm(a), 1e-12) for x in a]


def huber(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def mean_square(a: Matrix, b: Matrix) -> float:
    return mean([(x - y) ** 2 for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)])


def scaled(matrix: Matrix, temperature: float) -> list[list[float]]:
    return [[v / temperature for v in row] for row in matrix]


def soft_target(student: Matrix, teacher: Matrix, temperature: float) -> float:
    rows = zip(scaled(student, temperature), scaled(teacher, temperature), strict=True)
    return temperature**2 * mean([kl(softmax(t), softmax(s)) for s, t in rows])


def _distances(points: Matrix) -> list[list[float]]:
    rows = [[math.dist(a, b) for b in points] for a in points]
    positive = [d for row in rows for d in row if d > 0]
    return [[d / mean(positive) for d in row] for row in rows]


def relational_distance(student: Matrix, teacher: Matrix) -> float:
    told, wanted = _distances(student), _distances(teacher)
    n = len(student)
    return mean([huber(told[i][j] - wanted[i][j]) for i in range(n) for j in range(n)])


def _cosine(points: Matrix, i: int, j: int, k: int) -> float:
    ij = unit([a - b for a, b in zip(points[i], points[j], strict=True)])
    kj = unit([a - b for a, b in zip(points[k], points[j], strict=True)])
    return dot(ij, kj)


def relational_angle(student: Matrix, teacher: Matrix) -> float:
    n = range(len(student))
    return mean(
        [huber(_cosine(student, i, j, k) - _cosine(teacher, i, j, k)) for i in n for j in n for k in n]
    )


def semantic(student: Matrix, teacher: Matrix) -> float:
    return mean_square(student, teacher)


def decoupled(
    student: Matrix, teacher: Matrix, labels: Sequence[int], temperature: float, target: float, others: float
) -> float:
    total = 0.0
    rows = zip(scaled(student, temperature), scaled(teacher, temperature), labels, strict=True)
    for s, t, label in rows:
        p, q = softmax(s), softmax(t)
        total += target * kl([q[label], 1 - q[label]], [p[label], 1 - p[label]])
        rest = [i for i in range(len(s)) if i != label]
        total += others * kl([q[i] / (1 - q[label]) for i in rest], [p[i] / (1 - p[label]) for i in rest])
    return temperature**2 * total / len(student)


def _correlation(a: Vector, b: Vector) -> float:
    a, b = [x - mean(a) for x in a], [x - mean(b) for x in b]
    return dot(a, b) / (norm(a) * norm(b))


def stronger(student: Matrix, teacher: Matrix, between: float, within: float) -> float:
    told, wanted = [softmax(row) for row in student], [softmax(row) for row in teacher]
    rows = mean([1 - _correlation(a, b) for a, b in zip(told, wanted, strict=True)])
    columns = [
        1 - _correlation([row[c] for row in told], [row[c] for row in wanted]) for c in range(len(told[0]))
    ]
    return between * rows + within * mean(columns)


def _z(row: Vector) -> list[float]:
    m = mean(row)
    deviation = math.sqrt(mean([(v - m) ** 2 for v in row]))
    return [(v - m) / (deviation + 1e-7) for v in row]


def standardised(student: Matrix, teacher: Matrix, temperature: float) -> float:
    return soft_target([_z(row) for row in student], [_z(row) for row in teacher], temperature)


def softmaxed(student: Matrix, teacher: Matrix, temperature: float) -> float:
    return soft_target(student, teacher, temperature)


def attention(student: Sequence[Sequence[Matrix]], teacher: Sequence[Sequence[Matrix]]) -> float:
    """Of maps of one and the same height and width."""

    def energy(maps: Sequence[Matrix]) -> list[float]:
        height, width = len(maps[0]), len(maps[0][0])
        return unit([mean([m[y][x] ** 2 for m in maps]) for y in range(height) for x in range(width)])

    return mean_square([energy(one) for one in student], [energy(one) for one in teacher])


def similarity_preserving(student: Matrix, teacher: Matrix) -> float:
    def gram(rows: Matrix) -> list[list[float]]:
        return [unit([dot(a, b) for b in rows]) for a in rows]

    return mean_square(gram(student), gram(teacher))


def correlation_congruence(student: Matrix, teacher: Matrix, gamma: float) -> float:
    def kernel(rows: Matrix) -> list[list[float]]:
        units = [unit(row) for row in rows]
        return [[math.exp(-gamma * math.dist(a, b) ** 2) for b in units] for a in units]

    return mean_square(kernel(student), kernel(teacher))


def probabilistic(student: Matrix, teacher: Matrix) -> float:
    def neighbours(rows: Matrix) -> list[list[float]]:
        units = [unit(row) for row in rows]
        similarity = [[(dot(a, b) + 1) / 2 for b in units] for a in units]
        return [[v / sum(row) for v in row] for row in similarity]

    told, wanted = neighbours(student), neighbours(teacher)
    return mean(
        [
            w * math.log((w + 1e-7) / (t + 1e-7))
            for p, q in zip(told, wanted, strict=True)
            for t, w in zip(p, q, strict=True)
        ]
    )


def queued(student: Matrix, teacher: Matrix, queue: Matrix, hot: float, cold: float) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        told = softmax([dot(unit(s), unit(q)) / hot for q in queue])
        wanted = softmax([dot(unit(t), unit(q)) / cold for q in queue])
        total -= sum(w * math.log(p) for w, p in zip(wanted, told, strict=True))
    return total / len(student)


def contrastive(
    student: Matrix, teacher: Matrix, negatives: Sequence[Matrix], population: int, temperature: float
) -> float:
    total = 0.0
    for s, t, others in zip(student, teacher, negatives, strict=True):
        noise = len(others) / population

        def belongs(a: Vector, b: Vector, noise: float = noise) -> float:
            e = math.exp(dot(unit(a), unit(b)) / temperature)
            return e / (e + noise)

        total -= math.log(belongs(s, t)) + sum(math.log(1 - belongs(s, o)) for o in others)
    return total / len(student)
