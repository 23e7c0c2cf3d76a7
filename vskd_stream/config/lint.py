"""What is allowed but probably not meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vskd_stream.settings import EmbeddedBroker, RemoteBroker, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vskd_stream.settings import MqttSource, Replay, Settings


def warnings(settings: Settings) -> list[str]:
    """What is allowed but probably not meant, a sentence each."""
    found = list(_broker_warnings(settings.broker))
    for index, source in enumerate(settings.sources):
        if source.topic == "#":
            found.append(f"sources[{index}].topic: `#` reads every topic of the broker, our own events too")
        for earlier, other in enumerate(settings.sources[:index]):
            if _covers(other, source):
                found.append(f"sources[{index}]: never used, sources[{earlier}] reads all its topics first")
                break
    for index, replay in enumerate(settings.replay):
        found += _replay_warnings(f"replay[{index}]", replay, settings)
    return found


def _broker_warnings(broker: EmbeddedBroker | RemoteBroker) -> Iterator[str]:
    if isinstance(broker, EmbeddedBroker):
        if not is_loopback(broker.listen):
            yield (
                f"broker.embedded.listen: whoever reaches {broker.listen} may read all and send samples;"
                " the embedded broker knows no passwords"
            )
    elif broker.tls is None and not is_loopback(broker.host):
        if broker.password_file or broker.password_credential:
            yield f"broker: the password goes to {broker.host} unencrypted; add `tls: {{}}` if it has TLS"
        else:
            yield f"broker: {broker.host} is used without TLS and password; others may read and forge all"


def _replay_warnings(key: str, replay: Replay, settings: Settings) -> Iterator[str]:
    if replay.topic is not None and not any(source.matches(replay.topic) for source in settings.sources):
        yield f"{key}.topic: no source reads `{replay.topic}`"
    if isinstance(settings.broker, RemoteBroker):
        yield f"{key}: {settings.broker.host} receives recorded samples as if somebody wore the watch now"


def _covers(earlier: MqttSource, later: MqttSource) -> bool:
    # As a level of a topic, a wildcard of the later filter is matched by wildcards alone.
    return earlier.matches(later.topic) and (earlier.topic.endswith("#") or not later.topic.endswith("#"))
