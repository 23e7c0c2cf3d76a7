"""End to end: a real daemon, a real broker, and a load of their own process each, on this machine.

``python -m tests.bench.capacity --devices 1000 --seconds 60``; ``--phases 1000x30,4000x20,1000x20``
for an overload and what comes after; ``--devices 10,100,1000 --write docs/capacity.json`` for how the cost
grows, which is drawn beside it. CPU is of the load's time alone, as parts of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import plot
from tests.bench.load import BATCH_SAMPLES
from tests.brokers import Mosquitto
from tests.processes import DaemonProcess, write_config
from vskd_stream import bundle, runtime


def cpu_s(pid: int) -> dict[str, float]:
    """CPU seconds of a process's threads, by name; ``all`` of the process."""
    spent: dict[str, float] = {"all": 0.0}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = "loop" if int(task.name) == pid else (task / "comm").read_text().strip()
        # Nanoseconds: the usual ticks of 10 ms are too coarse for a single watch.
        thread_s = int((task / "schedstat").read_text().split()[0]) / 1e9
        spent[name] = spent.get(name, 0.0) + thread_s
        spent["all"] += thread_s
    return spent


def rss_mb(pid: int) -> float:
    """Resident megabytes (10^6 bytes)."""
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in each)
    return int(line.split()[1]) * 1024 / 1e6


async def measure(
    phases: str, *, format_: str, model: str, scores: bool, together: bool, batch: int
) -> dict[str, Any]:
    """Run it all once."""
    manifest = bundle.load(bundle.resolve(model)).manifest
    with tempfile.TemporaryDirectory() as folder:
        async with Mosquitto() as broker:
            config = write_config(
                Path(folder) / "config.yaml",
                model=model,
                broker={"host": "127.0.0.1", "port": broker.port},
                limits={"max_devices": 10_000},
                publish={"scores": scores},
                log={"level": "info"},
            )
            async with DaemonProcess(config) as daemon:
                await daemon.event("connected")
                idle_mb = rss_mb(daemon.process.pid)
                load = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.bench.load", "--port", str(broker.port), "--phases", phases,
                    "--format", format_, "--grid-hz", str(manifest.sampling_rate_hz),
                    "--window", str(manifest.window_samples), "--hop", str(manifest.hop_samples),
                    "--batch", str(batch), *(["--together"] if together else []),
                    stdout=asyncio.subprocess.PIPE,
                )  # fmt: skip
                pids = {"daemon": daemon.process.pid, "broker": broker.pid, "load": load.pid}
                seconds = sum(float(each.split("x")[1]) for each in phases.split(","))
                # The first seconds hold imports and first allocations.
                await asyncio.sleep(min(8.0, seconds / 2))
                before = {name: cpu_s(pid) for name, pid in pids.items()}
                rest_s = seconds - min(8.0, seconds / 2) - 0.5
                await asyncio.sleep(rest_s)
                after = {name: cpu_s(pid) for name, pid in pids.items()}
                peak_mb = rss_mb(daemon.process.pid)
                assert load.stdout is not None
                figures = json.loads(await load.stdout.read())
                await load.wait()
                await daemon.stop()
                told = next(line for line in daemon.log if line["event"] == "stopped")
    shares = {
        f"cpu_{name}" if thread == "all" else f"cpu_{name}_{thread}": round(
            (spent - before[name].get(thread, 0.0)) / rest_s, 4
        )
        for name in pids
        for thread, spent in after[name].items()
        if thread == "all" or name == "daemon"
    }
    drops = {name: count for name, count in told.items() if name.startswith(("dropped_", "gap_"))}
    return {
        "machine": runtime.machine(),
        "model": manifest.name,
        "phases_wanted": phases,
        "watches": "together" if together else "each in its own phase",
        "format": format_,
        "batch_samples": batch,
        **figures,
        **{name: share for name, share in shares.items() if share >= 0.002},
        "rss_before_mb": round(idle_mb, 1),
        "rss_loaded_mb": round(peak_mb, 1),
        "dropped": drops,
    }


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", default="1000", help="how many; of several, with commas between, each")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--phases", help="in place of both: DEVICESxSECONDS, with commas between")
    parser.add_argument("--format", choices=("msgpack", "json"), default="msgpack")
    parser.add_argument("--model", default="wrist")
    parser.add_argument("--batch", type=int, default=BATCH_SAMPLES, help="samples of a message, at 50 Hz")
    parser.add_argument("--together", action="store_true", help="all watches count from the same tick")
    parser.add_argument(
        "--write", type=Path, help="a JSON file for all that is measured; a drawing beside it"
    )
    parser.add_argument("--no-scores", action="store_true", help="publish events only; no latencies then")
    options = parser.parse_args()
    wanted = (
        [options.phases]
        if options.phases
        else [f"{devices}x{options.seconds:g}" for devices in options.devices.split(",")]
    )
    runs = []
    for phases in wanted:
        run = measure(
            phases,
            format_=options.format,
            model=options.model,
            scores=not options.no_scores,
            together=options.together,
            batch=options.batch,
        )
        runs.append(asyncio.run(run))
        print(json.dumps(runs[-1], indent=1), flush=True)
    if options.write is not None:
        options.write.write_text(json.dumps(runs, indent=1) + "\n")
        options.write.with_suffix(".svg").write_text(plot.drawing(runs))


if __name__ == "__main__":
    main()
