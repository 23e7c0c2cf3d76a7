"""Where a recording may be published."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vskd_stream.settings import Replay


@pytest.mark.parametrize("topic", ["imu/+/samples", "#", "", "a\0", "x" * 513])
def test_a_replay_publishes_on_a_topic_not_on_a_filter(topic: str) -> None:
    with pytest.raises(ValidationError):
        Replay(recording="demo", topic=topic)
