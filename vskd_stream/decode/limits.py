"""What no payload may exceed, whatever its format: the limits, and the checks that every decoder shares.

A decoder raises nothing but ``DecodeError``, with a reason out of ``REASONS``.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, Literal, Protocol, TypeVar, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from vskd_stream import _checks
from vskd_stream.errors import DecodeError
from vskd_stream.samples import IDENTIFIER, Epoch, Samples

Reason = Literal[
    "too_large",  # more bytes than MAX_PAYLOAD_BYTES
    "unrecognised",  # no format looks like this
    "malformed",  # broken JSON or MessagePack; fields that are missing, unknown, or of the wrong type
    "unsupported_schema",  # a version, or a must-understand field, of a later schema
    "no_device",  # neither the topic nor the payload names the device
    "bad_device",  # it is named, but not by an identifier
    "empty",  # nothing in it is an acceleration
    "too_many_samples",  # more than MAX_SAMPLES, or more records than could hold them
    "unknown_unit",  # a unit that is missing or not known
    "not_finite",  # NaN or infinity
    "out_of_range",  # a value that no wearable measures
    "bad_rate",  # a rate outside the limits, or one that cannot be measured
    "bad_time",  # times outside the limits, or on two time lines
    "no_gravity",  # acceleration without gravity, and no gravity to add
]
REASONS: Final[frozenset[str]] = frozenset(get_args(Reason))
"""Every reason a decoder gives: each may name a counter, so there are never others."""

MAX_PAYLOAD_BYTES: Final = 16 * 2**20
"""Nothing longer is parsed, however the caller is configured: the largest batch has about 1 MiB."""
MAX_SAMPLES: Final = 8192
"""Samples of one device in a payload: 82 s at 100 Hz. A batch that spans more is no live stream."""
MAX_RECORDS: Final = 8 * MAX_SAMPLES
"""Records in a payload that mixes sensors: every axis of a full batch, and others beside it."""
MAX_ACC_G: Final = 64.0
"""Per axis; wearables saturate at 16 g or 32 g, so more is a wrong unit."""
MAX_GYRO_DPS: Final = 10_000.0
"""Per axis; wearables saturate at 2000 or 4000 degrees per second, so more is a wrong unit."""
MIN_RATE_HZ: Final = 1.0
"""Slower is no movement that can be classified."""
MAX_RATE_HZ: Final = 2000.0
"""Faster than any wearable's accelerometer; more is a period taken for a rate."""
MAX_DEVICE_TIME_S: Final = 1e10
"""317 years: more is milliseconds, or a counter without its rate. Doubles still resolve 2 µs there."""
MIN_UTC_S: Final = 946_684_800.0
"""2000-01-01: a device that claims an earlier time has never had its clock set."""
MAX_UTC_S: Final = 7_258_118_400.0
"""2200-01-01: later is milliseconds taken for seconds."""
MAX_SEQUENCE: Final = 2**63 - 1
"""Whoever counts batches counts in 64 bits at most."""

STANDARD_GRAVITY_MPS2: Final = 9.80665
"""Metres per second squared in one g (ISO 80000-3)."""
ACC_UNITS_PER_G: Final = {"g": 1.0, "mg": 1000.0, "m/s2": STANDARD_GRAVITY_MPS2}
"""What is divided by to come to g, by the unit's name."""
GYRO_UNITS_PER_DPS: Final = {"deg/s": 1.0, "rad/s": math.pi / 180.0}
"""What is divided by to come to degrees per second, by the unit's name."""

SEQUENCE_RANGE: Final = msgspec.Meta(ge=0, le=MAX_SEQUENCE)
"""Annotates the number that a sender gives its batch."""

_TIME_LIMITS_S: Final[dict[Epoch, tuple[float, float]]] = {
    "utc": (MIN_UTC_S, MAX_UTC_S),
    "device": (0.0, MAX_DEVICE_TIME_S),
}
_QUOTED_HEAD = 64
_QUOTED_TAIL = 32
_QUOTED_NAME = 40
_AXES = "xyz"

_T_co = TypeVar("_T_co", covariant=True)


class Parser(Protocol[_T_co]):
    """A msgspec decoder, of JSON or of MessagePack."""

    def decode(self, buf: bytes, /) -> _T_co:
        """Parse ``buf``."""


def refusal(reason: Reason, detail: str) -> DecodeError:
    """Make the error; the reason's type keeps it inside ``REASONS``."""
    return DecodeError(reason, detail)


def quote(text: str) -> str:
    """Escape a stranger's text and cut it down to its head, and its tail, where msgspec says where."""
    longest = _QUOTED_HEAD + _QUOTED_TAIL
    escaped = _escape(text if len(text) <= 2 * longest else text[:longest] + text[-longest:])
    return escaped if len(escaped) <= longest else f"{escaped[:_QUOTED_HEAD]}...{escaped[-_QUOTED_TAIL:]}"


def quote_name(text: str) -> str:
    """Quote a stranger's id, unit or name, escaped; of a long one the beginning will do."""
    escaped = _escape(text[: _QUOTED_NAME + 1])
    return f'"{escaped}"' if len(escaped) <= _QUOTED_NAME else f'"{escaped[:_QUOTED_NAME]}..."'


def _escape(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def parse(parser: Parser[_T_co], data: bytes, *, what: str) -> _T_co:
    """Parse ``data``, or refuse it as malformed; ``what`` begins the refusal."""
    try:
        return parser.decode(data)
    except RecursionError:
        raise refusal("malformed", f"{what}: nested too deeply; no such format nests") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise refusal("malformed", f"{what}: {quote(str(error))}") from None


# A device's id is always the same.
@lru_cache(maxsize=16_384)
def device_id(given: str | None, own: str | None) -> str:
    """Check the id: the topic's (``given``) if there is one, or else the payload's ``own``."""
    name = given or own
    if not name:
        raise refusal("no_device", "neither the topic nor the payload names the device; set one of them")
    if IDENTIFIER.fullmatch(name) is None:
        raise refusal(
            "bad_device",
            f"{quote_name(name)} is no device id: 1 to 64 letters, digits, hyphens and underscores",
        )
    return name


def check_count(count: int, *, what: str) -> None:
    """Refuse more than ``MAX_SAMPLES``."""
    if count > MAX_SAMPLES:
        raise refusal(
            "too_many_samples",
            f"{what} has {count} samples or more, at most {MAX_SAMPLES} are taken; send smaller batches",
        )


def check_rate(rate_hz: float, *, what: str) -> None:
    """Refuse a sampling rate outside the limits, NaN included."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise refusal(
            "bad_rate", f"{what} is {rate_hz:.6g} Hz; expected {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz"
        )


def check_vectors(values: NDArray[np.float64], *, limit: float, unit: str, what: str) -> None:
    """Refuse (n, k) ``values`` that are not finite, or beyond ``limit`` (in ``unit``) either way."""
    if _checks.within(np.ascontiguousarray(values, np.float64), limit):
        return
    row, column = (int(i) for i in np.argwhere(~(np.abs(values) <= limit))[0])
    value = float(values[row, column])
    place = f"{what}[{row}].{_AXES[column % len(_AXES)]} is {value:.6g} {unit}"
    if not math.isfinite(value):
        raise refusal("not_finite", f"{place}; leave out samples that have no value")
    raise refusal("out_of_range", f"{place}, more than {limit:g} {unit}; check the unit")


def check_times(t_s: NDArray[np.float64], *, epoch: Epoch) -> None:
    """Refuse (n,) times, n >= 1, that are not finite or lie outside the limits of their epoch."""
    low, high = _TIME_LIMITS_S[epoch]
    earliest, latest = float(t_s.min()), float(t_s.max())
    if low <= earliest and latest <= high:
        return
    if not (math.isfinite(earliest) and math.isfinite(latest)):
        raise refusal("not_finite", f"the times run from {earliest} to {latest} s; they must be finite")
    raise refusal(
        "bad_time",
        f"the times run from {earliest:.15g} to {latest:.15g} s; {epoch} times lie within {low:.0f} to "
        f"{high:.0f} s; check their unit and the device's clock",
    )


def ordered(t_s: NDArray[np.float64]) -> NDArray[np.intp] | None:
    """Find which of the times (n,) to take, in which order, so that they increase strictly.

    Phones repeat timestamps and shuffle readings: of equal times the first is kept. None: all, as they are.
    """
    if (t_s[1:] > t_s[:-1]).all():
        return None
    order = np.argsort(t_s, kind="stable")
    sorted_s = t_s[order]
    return order[np.concatenate(([True], sorted_s[1:] > sorted_s[:-1]))]


def make_samples(
    *,
    device: str,
    t_s: NDArray[np.float64],
    acc_g: NDArray[np.float64],
    sampling_rate_hz: float | None,
    epoch: Epoch,
    sequence: int | None = None,
    gyro_dps: NDArray[np.float64] | None = None,
    discarded: int = 0,
) -> Samples:
    """Check what a decoder has read and make it ``Samples``.

    Args:
        device: Checked already.
        t_s: (n,) seconds in any order.
        acc_g: (n, 3) acceleration in g.
        sampling_rate_hz: Nominal rate; None: one over the median distance of the times.
        epoch: Where ``t_s`` starts.
        sequence: The batch's number.
        gyro_dps: (n, 3) angular rate in degrees per second.
        discarded: Samples that the decoder has left out; those with repeated times are added.

    Raises:
        DecodeError: Anything is outside the limits, or there is no sample.
    """
    if len(t_s) == 0:
        raise refusal("empty", "the payload holds no samples; send batches of 0.2 to 1 s")
    check_count(len(t_s), what="the payload")
    # What is good, as nearly all is, costs one pass; what is not is told what it is.
    is_plain = _checks.increasing_within(np.ascontiguousarray(t_s, np.float64), *_TIME_LIMITS_S[epoch])
    if not is_plain:
        check_times(t_s, epoch=epoch)
    check_vectors(acc_g, limit=MAX_ACC_G, unit="g", what="acc")
    if gyro_dps is not None:
        check_vectors(gyro_dps, limit=MAX_GYRO_DPS, unit="deg/s", what="gyro")
    order = None if is_plain else ordered(t_s)
    if order is not None:
        discarded += len(t_s) - len(order)
        t_s, acc_g = t_s[order], acc_g[order]
        gyro_dps = None if gyro_dps is None else gyro_dps[order]
    if sampling_rate_hz is None:
        sampling_rate_hz = _measured_rate_hz(t_s)
    check_rate(sampling_rate_hz, what="the sampling rate")
    return Samples(
        device=device,
        t_s=t_s,
        acc_g=acc_g.astype(np.float32, order="C"),
        sampling_rate_hz=sampling_rate_hz,
        epoch=epoch,
        sequence=sequence,
        gyro_dps=None if gyro_dps is None else gyro_dps.astype(np.float32, order="C"),
        discarded=discarded,
    )


def _measured_rate_hz(t_s: NDArray[np.float64]) -> float:
    if len(t_s) == 1:
        raise refusal(
            "bad_rate",
            "one sample tells no rate; set sampling_rate_hz for this source, or send larger batches",
        )
    middle = len(t_s) // 2
    return float(1.0 / np.partition(t_s[1:] - t_s[:-1], middle - 1)[middle - 1])
