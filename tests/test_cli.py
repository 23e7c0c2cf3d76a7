from __future__ import annotations

import gc
import json
import subprocess
import sys

import jsonschema
import pytest

from tests.disks import SmallDisk
from tests.processes import command, write_config
from vskd_stream import cli
from vskd_stream.payloads import schema


def test_replay_prints_the_events_of_a_recording_as_json_lines(model, capsys):
    assert cli.main(["replay", "demo", "--bundle", str(model)]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(events) > 10
    for event in events:
        jsonschema.validate(event, schema("event"))
    assert {event["device"] for event in events} == {"demo-watch"}


def test_replay_gives_the_same_bytes_every_time(model, capsys):
    def printed():
        cli.main(["replay", "demo", "--bundle", str(model)])
        return capsys.readouterr().out

    assert printed() == printed() != ""


def test_a_configuration_is_checked_with_all_that_it_names(model, tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml", broker={"host": "127.0.0.1"}, model=str(model))
    assert cli.daemon(["--config", str(config), "--check-config"]) == 0
    assert "good" in capsys.readouterr().out


def test_a_check_leaves_the_process_that_makes_it_as_it_was(model, tmp_path):
    def ways():
        return gc.get_threshold(), gc.get_freeze_count(), sys.getswitchinterval()

    config = write_config(tmp_path / "c.yaml", broker={"host": "127.0.0.1"}, model=str(model))
    before = ways()
    assert cli.daemon(["--config", str(config), "--check-config"]) == 0
    assert ways() == before


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"broker": {"host": "127.0.0.1", "port": 99999}}, 78, "broker.port"),
        ({"devices": {"watch": {"never": ["flying"]}}}, 78, "devices.watch.never: the model knows no flying"),
        ({"model": "./missing.onnx"}, 65, "missing.onnx"),
        ({"replay": [{"recording": "./missing.vskdrec"}]}, 65, "missing.vskdrec"),
        ({"broker": {"host": "127.0.0.1", "tls": {"ca_file": "missing.pem"}}}, 69, "missing.pem"),
        (
            {"broker": {"host": "127.0.0.1", "username": "me", "password_file": "missing"}},
            78,
            "missing",
        ),
    ],
)
def test_what_is_refused_is_said_in_words_with_an_exit_code(model, tmp_path, capsys, changes, code, words):
    keys = {"broker": {"host": "127.0.0.1"}, "model": str(model)} | changes
    config = write_config(tmp_path / "c.yaml", **keys)
    assert cli.daemon(["--config", str(config), "--check-config"]) == code
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_an_outbox_that_cannot_be_used_is_found_by_the_check(model, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    keys = {"broker": {"host": "127.0.0.1"}, "model": str(model)}
    config = write_config(tmp_path / "c.yaml", **keys, outbox={"directory": str(tmp_path / "file")})
    assert cli.daemon(["--config", str(config), "--check-config"]) == 78
    assert "outbox.directory: events cannot wait in this folder" in capsys.readouterr().err
    (tmp_path / "state" / "outbox.sqlite3").mkdir(parents=True)
    config = write_config(tmp_path / "c.yaml", **keys, outbox={"directory": str(tmp_path / "state")})
    assert cli.daemon(["--config", str(config), "--check-config"]) == 78
    assert "outbox.sqlite3 is no file that this user may write" in capsys.readouterr().err


def test_a_full_disk_is_found_by_the_check(model, tmp_path, capsys):
    with SmallDisk(tmp_path / "disk") as disk:
        config = write_config(
            tmp_path / "c.yaml",
            broker={"host": "127.0.0.1"},
            model=str(model),
            outbox={"directory": str(disk.path)},
        )
        assert cli.daemon(["--config", str(config), "--check-config"]) == 0
        disk.fill()
        assert cli.daemon(["--config", str(config), "--check-config"]) == 78
        assert "No space left on device" in capsys.readouterr().err


def test_a_recording_that_is_none_is_refused_in_words(tmp_path, model, capsys):
    path = tmp_path / "noise.vskdrec"
    path.write_bytes(b"\x00" * 1000)
    assert cli.main(["replay", str(path), "--bundle", str(model)]) == 65
    assert str(path) in capsys.readouterr().err


def test_a_damaged_recording_gives_its_events_up_to_the_damage(tmp_path, model, capsys):
    from vskd_stream import recording

    whole = recording.resolve("demo").read_bytes()
    path = tmp_path / "cut.vskdrec"
    path.write_bytes(whole[: len(whole) // 2])
    assert cli.main(["replay", str(path), "--bundle", str(model)]) == 65
    captured = capsys.readouterr()
    assert captured.out.count("\n") > 3
    assert "byte" in captured.err


@pytest.mark.parametrize(
    "arguments", [["replay"], ["replay", "demo", "--speed", "0"], ["replay", "demo", "--speed", "warp"], []]
)
def test_wrong_usage_has_its_own_exit_code(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 64
    assert "usage" in capsys.readouterr().err


def test_the_schema_of_the_configuration_is_printed(tmp_path, capsys):
    assert cli.main(["config", "schema"]) == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


def test_a_model_says_what_it_is(model, capsys):
    assert cli.main(["model", str(model)]) == 0
    assert "sha256" in capsys.readouterr().out
    assert cli.main(["model", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == ["still", "moving"]


def test_a_reader_that_has_seen_enough_is_no_error(model):
    line = f"{command('vskd')} replay demo --bundle {model} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, check=False)
    assert done.stdout.count(b"\n") == 1
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr
