"""``python -m tests.soak --days 7``: a simulated week; tells what it costs, and whether the books balance."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from tests.soak.home import STEP_S, Home, Weight, quiet

_HOUR_STEPS = round(3600 / STEP_S)
_WARM_UP_H = 12
_MAX_GROWTH = 0.02


async def run(days: float, seed: int, folder: Path) -> dict[str, object]:
    """Live through the days; every hour is weighed."""
    home, began_s, weights = Home(folder, seed=seed), time.monotonic(), []
    before = Weight.now()
    hours = round(24 * days)
    async with home.open():
        for hour in range(hours):
            for _ in range(_HOUR_STEPS):
                await home.pass_time()
            await home.settle()
            home.check()
            await home.scrape()
            weights.append(Weight.now())
            if hour % 12 == 11:
                print(f"hour {hour + 1}: {weights[-1]}, {time.monotonic() - began_s:.0f} s", flush=True)
    after = Weight.now()
    day = max(1, min(24, (hours - _WARM_UP_H) // 2))
    warm = statistics.median(each.rss_bytes for each in weights[_WARM_UP_H : _WARM_UP_H + day])
    end = statistics.median(each.rss_bytes for each in weights[-day:])
    growth = end / warm - 1
    assert after.tasks == before.tasks, (before, after)
    assert after.files <= before.files, (before, after)
    assert after.threads <= before.threads + 1, (before, after)
    assert growth < _MAX_GROWTH, f"RSS grew by {growth:.1%}"
    return {
        "simulated hours": hours,
        "real seconds": round(time.monotonic() - began_s),
        "rss after warm-up, MB": round(warm / 1e6, 1),
        "rss at the end, MB": round(end / 1e6, 1),
        "growth": round(growth, 4),
        "before, first hour, last hour, after": [str(w) for w in (before, weights[0], weights[-1], after)],
        **home.totals(),
    }


def main() -> None:
    """Run it, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(run(options.days, options.seed, Path(folder))), indent=2))


if __name__ == "__main__":
    main()
