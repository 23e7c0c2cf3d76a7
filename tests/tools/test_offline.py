from __future__ import annotations

from structlog.testing import capture_logs

from vskd_stream import recording
from vskd_stream.classify import Classifier
from vskd_stream.recording import Message
from vskd_stream.settings import Settings
from vskd_stream.tally import Tally
from vskd_stream.tools import offline

SETTINGS = Settings.model_validate(
    {"gateway": "home", "broker": "embedded", "sources": [{"topic": "imu/+/samples"}]}
)


def played(messages, loaded, tally=None):
    return list(
        offline.play(
            messages,
            settings=SETTINGS,
            bundle=loaded,
            classifier=Classifier(loaded),
            tally=tally or Tally(),
        )
    )


def test_the_end_of_a_recording_is_silence(loaded):
    demo = list(recording.read(recording.resolve("demo")))
    steps = played(demo, loaded)
    assert len(steps) == len(demo) + 1
    assert steps[-1][0] == demo[-1].arrival_s + SETTINGS.no_data_after_s
    assert [p.topic for p in steps[-1][1]][-1] == "vskd/home/demo-watch/state"
    assert b'"no_data"' in steps[-1][1][-1].payload


def test_moments_of_arrival_are_those_that_were_recorded(loaded):
    demo = list(recording.read(recording.resolve("demo")))
    for (arrival_s, publications), message in zip(played(demo, loaded), demo, strict=False):
        assert arrival_s == message.arrival_s
        for publication in publications:
            assert b'"published_utc":"2026-01-01T' in publication.payload


def test_what_cannot_be_decoded_is_counted_and_the_rest_is_played(loaded):
    demo = list(recording.read(recording.resolve("demo")))
    junk = [Message(demo[0].arrival_s, "imu/x/samples", b"junk")]
    tally = Tally()
    with capture_logs():
        steps = played(junk + demo, loaded, tally)
    assert tally.counts["unrecognised"] == 1
    assert steps[1:] == played(demo, loaded)
