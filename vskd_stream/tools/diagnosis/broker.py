"""The broker: whether it lets the daemon in, and do its work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vskd_stream.tools.diagnosis.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFacts:
    """What a broker answered."""

    address: str
    protocol: str
    error: str = ""
    """Why there is no connection; then nothing else is known."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Topic filters of the sources that it did not grant, and why."""
    publish_refusal: str = ""
    """Why it did not take what was published."""
    echoed: bool = False
    """Whether it sent back what we published."""
    heard: int = 0
    """Messages of the sources while we listened."""
    unread: Mapping[str, int] = field(default_factory=dict)
    """How many of them the daemon would refuse, by reason."""
    listened_s: float = 0.0
    status: str | None = None
    """What is kept as the gateway's status: ``online``, ``stopped``, ``offline``."""


def judge(facts: BrokerFacts, *, gateway: str, filters: Sequence[str], embedded: bool) -> Iterator[Finding]:
    """Judge a broker's answers to a client with the daemon's rights."""
    if facts.error:
        if embedded:
            found = f"nobody answers at {facts.address}, where the daemon's own broker would be"
            yield Finding("broker", "warn", found, "start the daemon to have the broker checked, too")
        else:
            yield Finding("broker", "fail", f"{facts.address}: {facts.error}", _remedy(facts.error))
        return
    yield Finding("broker", "ok", f"{facts.address} lets us in (MQTT {facts.protocol})")
    yield from _hearing(facts, filters)
    yield _publishing(facts, gateway)
    if embedded and facts.status != "online":
        found = f"at {facts.address} is a broker, but no daemon `{gateway}`: its port is taken"
        yield Finding("daemon", "fail", found, "end that broker, choose another `port`, or use it as `host`")
    else:
        yield Finding("daemon", "ok", f"`{gateway}` is {facts.status or 'unknown to the broker'}")


def _hearing(facts: BrokerFacts, filters: Sequence[str]) -> Iterator[Finding]:
    for topic_filter, reason in facts.refused.items():
        remedy = f"allow it in the broker's ACL: `topic read {topic_filter}` in mosquitto's"
        yield Finding("subscribe", "fail", f"the broker refuses {topic_filter} ({reason})", remedy)
    granted = [each for each in filters if each not in facts.refused]
    if not granted:
        return
    yield Finding("subscribe", "ok", f"granted: {', '.join(granted)}")
    heard = f"{facts.heard} messages in {facts.listened_s:.1f} s"
    unread = ", ".join(f"{count} {reason}" for reason, count in facts.unread.items())
    if facts.heard == 0:
        # mosquitto grants such a subscription, and then keeps from us what its ACL does not allow.
        remedy = "let a device send; if one does, look whether the broker's ACL lets this user read its topic"
        yield Finding("samples", "warn", f"nothing came in {facts.listened_s:.1f} s", remedy)
    elif unread:
        remedy = "compare `format` of the source with docs/formats.md"
        yield Finding("samples", "warn", f"{heard}, refused: {unread}", remedy)
    else:
        yield Finding("samples", "ok", heard)


def _publishing(facts: BrokerFacts, gateway: str) -> Finding:
    allowed = f"vskd/{gateway}/"
    remedy = f"allow it in the broker's ACL: `topic readwrite {allowed}#` in mosquitto's"
    if facts.publish_refusal:
        found = f"the broker takes nothing under {allowed} ({facts.publish_refusal})"
        return Finding("publish", "fail", found, remedy)
    if facts.protocol != "5" and not facts.echoed:
        found = (
            f"MQTT {facts.protocol} tells of no refusal, and what we published under {allowed} did not return"
        )
        return Finding("publish", "warn", found, f"if no events arrive, {remedy}")
    return Finding("publish", "ok", f"the broker takes what goes to {allowed}")


def _remedy(error: str) -> str:
    hints = {
        "Not authorized": "check `username` and the password, and that the broker knows this user",
        "user name": "check `username` and the password, and that the broker knows this user",
        "certificate": "set `tls.ca_file` to the authority that signed it, and `host` to a name that it has",
        "no such host": "check `broker.host`",
        "connection refused": "start the broker, or check `broker.port`",
        "TLS": "check `broker.port`, and whether the broker speaks TLS there",
        "protocol": "check `broker.protocol`, and whether the broker speaks TLS on this port",
    }
    return next((hint for words, hint in hints.items() if words in error), "check host, port and the network")


def ports(taken: Mapping[int, str], *, daemon_answers: bool) -> Finding:
    """The embedded broker's ports: why each cannot be had, empty if it can."""
    busy = {port: reason for port, reason in taken.items() if reason}
    if not busy:
        return Finding("ports", "ok", f"free: {', '.join(map(str, taken))}")
    found = ", ".join(f"{port}: {reason}" for port, reason in busy.items())
    if daemon_answers:
        return Finding("ports", "ok", f"in use by the daemon that runs ({', '.join(map(str, busy))})")
    return Finding("ports", "fail", found, "end what listens there, or choose another `port`")
