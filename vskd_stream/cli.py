"""The commands: ``vskd-streamd`` is the daemon, ``vskd`` the tools around it.

Exit codes are those of sysexits.h: 0 ended in order, 64 usage, 65 a file that is not what it should
be, 69 no broker, Bluetooth or systemd can be had, 75 another daemon has the outbox, 78 configuration.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from vskd_stream import __version__
from vskd_stream.errors import (
    BrokerError,
    BundleError,
    ConfigError,
    HttpError,
    LabelError,
    LinkError,
    OptionError,
    OutboxError,
    RecordingError,
    ServiceError,
    VskdError,
)
from vskd_stream.settings import Log, MqttSource
from vskd_stream.tools import discovery as discovery_cli
from vskd_stream.tools import service as service_cli

_EXIT_CODES: dict[type[VskdError], int] = {
    ConfigError: os.EX_CONFIG,
    BundleError: os.EX_DATAERR,
    RecordingError: os.EX_DATAERR,
    BrokerError: os.EX_UNAVAILABLE,
    HttpError: os.EX_UNAVAILABLE,
    LinkError: os.EX_UNAVAILABLE,
    LabelError: os.EX_CONFIG,
    OptionError: os.EX_CONFIG,
    ServiceError: os.EX_UNAVAILABLE,
    # Whoever has it may be about to end: another attempt may do better.
    OutboxError: os.EX_TEMPFAIL,
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: {message}\n")


def daemon(arguments: Sequence[str] | None = None) -> int:
    """``vskd-streamd``: serve until a signal ends it."""
    parser = _Parser(
        prog="vskd-streamd", description="A watch's acceleration in, activity events over MQTT out."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration (YAML)")
    parser.add_argument(
        "--check-config",
        action="store_true",
        help="load all that the configuration names, say whether it is good, and end",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(arguments)
    return _told(lambda: _serve(options.config, check_only=options.check_config))


def main(arguments: Sequence[str] | None = None) -> int:
    """``vskd``: the tools."""
    parser = _Parser(prog="vskd", description="Tools around vskd-streamd.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "replay", help="print the events that the daemon would send for a recording"
    )
    command.add_argument("recording", help="a file, or the name of a shipped recording (demo)")
    command.add_argument("--bundle", default="wrist", help="a model bundle, or the name of a shipped one")
    command.add_argument("--config", type=Path, help="take sources, limits and model from this configuration")
    command.add_argument("--speed", default="max", type=_speed, help="max, 1x, 10x, ...")
    command.set_defaults(run=_replay)

    command = commands.add_parser("config", help="about configurations")
    parts = command.add_subparsers(required=True, metavar="COMMAND")
    part = parts.add_parser("schema", help="print the JSON Schema of a configuration")
    part.set_defaults(run=_config_schema)

    command = commands.add_parser("model", help="print what a model bundle says of itself")
    command.add_argument("bundle", nargs="?", default="wrist", help="a file, or the name of a shipped bundle")
    command.add_argument("--json", action="store_true", help="the whole manifest as JSON")
    command.set_defaults(run=_model)

    command = commands.add_parser("bench", help="measure what this machine can do with a model")
    command.add_argument(
        "bundle",
        nargs="*",
        default=["wrist"],
        help="files, or names of shipped bundles (wrist, wrist-small), to compare",
    )
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(run=_bench)

    command = commands.add_parser("discovery", help="what Home Assistant knows us by")
    discovery_cli.add_to(command)

    command = commands.add_parser("record", help="write what devices send into a file for `replay`")
    command.add_argument(
        "out", type=Path, metavar="OUT.vskdrec", help="the file to make; none is overwritten"
    )
    command.add_argument("--config", type=Path, required=True, metavar="FILE", help="which devices")
    command.add_argument("--seconds", type=_positive, metavar="N", help="end after so long; else with Ctrl-C")
    command.add_argument(
        "--topic", type=_topic_filter, action="append", default=[], metavar="FILTER",
        help="record this instead of the configuration's sources; may be repeated",
    )  # fmt: skip
    command.add_argument(
        "--only",
        choices=("mqtt", "bluetooth"),
        help="leave out sources of the other kind",
    )
    command.add_argument(
        "--max-mib", type=_positive, default=1024.0, metavar="N",
        help="end when the file has so many MiB (1024)",
    )  # fmt: skip
    command.set_defaults(run=_record)

    command = commands.add_parser("doctor", help="look for whatever may keep the daemon from its work")
    command.add_argument("--config", type=Path, metavar="FILE", help="check this configuration, too")
    command.add_argument(
        "--recording", type=Path, metavar="FILE", help="judge the connection interval from its arrivals"
    )
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(run=_doctor)

    command = commands.add_parser(
        "scan", help="show the Bluetooth devices that are near, and who serves them"
    )
    command.add_argument("--seconds", type=_positive, default=8.0, metavar="N", help="listen for so long (8)")
    command.add_argument("--adapter", metavar="NAME", help="such as hci0; else the first that is switched on")
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(run=_scan)

    command = commands.add_parser("service", help="the daemon as a systemd service")
    service_cli.add_to(command)

    options = parser.parse_args(arguments)
    return _told(lambda: options.run(options))


def _told(run: Callable[[], int | None]) -> int:
    """The exit code; what is refused is said in its own words, without a traceback."""
    try:
        return run() or os.EX_OK
    except VskdError as error:
        sys.stderr.write(f"{error}\n")
        return _EXIT_CODES.get(type(error), os.EX_SOFTWARE)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; leave nothing for the interpreter to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return os.EX_OK


def _speed(text: str) -> float:
    if text == "max":
        return float("inf")
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0.0 < speed <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither max nor a multiple of real time up to 1000x")
    return speed


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def _topic_filter(text: str) -> str:
    try:
        return MqttSource(topic=text).topic
    except ValidationError as error:
        raise argparse.ArgumentTypeError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _serve(path: Path, *, check_only: bool) -> None:
    # The model and the kernels take a second to import: what needs neither does not wait for them.
    from vskd_stream import config, equipment, logs, process

    settings = config.load(path)
    logs.configure(settings.log)
    built = process.build(settings, path=path)
    if check_only:
        if (outbox := equipment.outbox_path(settings)) is not None:
            equipment.check_outbox(outbox)
        sys.stdout.write(f"{path}: good\n")
        return
    process.serve(built)


def _replay(options: argparse.Namespace) -> None:
    from vskd_stream import bundle, config, logs, recording, runtime
    from vskd_stream.settings import RemoteBroker, Settings
    from vskd_stream.tally import Tally
    from vskd_stream.tools import offline

    if options.config is not None:
        settings = config.load(options.config)
    else:
        # Nothing is published: the broker is named because a configuration has one.
        broker = RemoteBroker(host="localhost")
        sources = (MqttSource(topic="imu/+/samples"), MqttSource(topic="#"))
        settings = Settings(gateway="replay", broker=broker, sources=sources)
    logs.configure(Log(level="warning"))
    loaded = bundle.load(bundle.resolve(options.bundle))
    recorded = recording.read(recording.resolve(options.recording))
    first_s: float | None = None
    began_s = time.monotonic()
    played = offline.play(
        recorded, settings=settings, bundle=loaded, classifier=runtime.classifier(loaded), tally=Tally()
    )
    for arrival_s, publications in played:
        first_s = arrival_s if first_s is None else first_s
        time.sleep(max(0.0, began_s + (arrival_s - first_s) / options.speed - time.monotonic()))
        for publication in publications:
            if publication.topic.endswith("/event"):
                sys.stdout.write(publication.payload.decode() + "\n")
        sys.stdout.flush()


def _record(options: argparse.Namespace) -> None:
    from vskd_stream.tools.record import command

    command.run(
        options.config,
        options.out,
        seconds=options.seconds,
        topics=options.topic,
        max_mib=options.max_mib,
        only=options.only,
    )


def _doctor(options: argparse.Namespace) -> int:
    from vskd_stream.tools import doctor

    return doctor.run(options.config, recording=options.recording, as_json=options.json)


def _scan(options: argparse.Namespace) -> None:
    import asyncio

    from vskd_stream.sources.ble import scan

    found = asyncio.run(scan.scan(options.seconds, adapter=options.adapter))
    if options.json:
        sys.stdout.write(json.dumps([each.as_json() for each in found], indent=2) + "\n")
    else:
        sys.stdout.write(scan.table(found))


def _bench(options: argparse.Namespace) -> None:
    from vskd_stream import bundle, logs, runtime
    from vskd_stream.tools import bench

    logs.configure(Log(level="warning"))
    measured = [bench.measure(bundle.load(bundle.resolve(each))) for each in options.bundle]
    if options.json:
        sys.stdout.write(json.dumps([each.as_json() for each in measured], indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(bench.table(each) for each in measured))
        if len(measured) > 1:
            sys.stdout.write("\n" + bench.comparison(measured))
    for each in measured:
        runtime.remember(each.bundle_sha256, each.way)


def _config_schema(_: argparse.Namespace) -> None:
    from vskd_stream import config

    sys.stdout.write(json.dumps(config.json_schema(), indent=2) + "\n")


def _model(options: argparse.Namespace) -> None:
    from vskd_stream import bundle

    loaded = bundle.load(bundle.resolve(options.bundle))
    if options.json:
        sys.stdout.write(loaded.manifest.model_dump_json(indent=2) + "\n")
    else:
        sys.stdout.write(f"{loaded.path}\nsha256 {loaded.sha256}\n\n{loaded.manifest.card}\n")
