"""What a configuration file may say: frozen, a unit and a sentence on each field, unknown keys refused.

``config`` reads the file; the decision parameters are not here but in the bundle's manifest.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    Tag,
    ValidationInfo,
    model_validator,
)

from vskd_stream.decode import FORMATS
from vskd_stream.errors import VskdError
from vskd_stream.lifecycle import NO_PREFERENCES, Preferences
from vskd_stream.samples import IDENTIFIER

_MAX_SOCKET_BYTES = 107
"""What Linux has room for in an address."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def is_path(name_or_path: str) -> bool:
    """Whether it names a file (it has a slash or a suffix) rather than something that is shipped."""
    return "/" in name_or_path or Path(name_or_path).suffix != ""


def _beside_config(path: Path, info: ValidationInfo) -> Path:
    if path == Path() or "\0" in str(path):
        raise ValueError("this names no file")
    # A relative path in a configuration is relative to its file, whose folder only the reader knows.
    return Path(info.context["folder"]) / path if info.context else path


def _shipped_or_beside_config(value: str, info: ValidationInfo) -> str:
    if is_path(value):
        return str(_beside_config(Path(value), info))
    if not IDENTIFIER.fullmatch(value):
        raise ValueError("this is neither the name of something shipped nor a path")
    return value


def _host(value: str) -> str:
    # ipaddress takes anything behind the % of an IPv6 zone, and this text ends in other programs' files.
    zoned = re.fullmatch(r"([0-9A-Fa-f:.]+)(%[\w.-]+)?", value)
    try:
        ipaddress.ip_address(zoned[1] if zoned else "")
    except ValueError:
        zoned = None
    if not zoned and not re.fullmatch(r"[\w.-]+", value):
        raise ValueError("a host stands alone, without mqtt://, user or port")
    return value


def _topic_filter(value: str) -> str:
    levels = value.split("/")
    if not value or len(value) > 512 or "\0" in value:
        raise ValueError("a topic filter has 1 to 512 characters")
    if "#" in value and (value.count("#") > 1 or levels[-1] != "#"):
        raise ValueError("# stands only as the last level of a topic filter")
    if any("+" in level and level != "+" for level in levels):
        raise ValueError("+ stands alone in its level of a topic filter")
    if levels[0] == "$share":
        raise ValueError("a shared subscription would hand this gateway only some of a device's samples")
    return value


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it; of names, no more than `localhost` is believed."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _service(value: str) -> str:
    # 16 bits stand for 128 with the rest that the Bluetooth specification gives.
    return f"0000{value}-0000-1000-8000-00805f9b34fb".lower() if len(value) == 4 else value.lower()


def _known_format(value: str) -> str:
    if value != "auto" and value not in FORMATS:
        raise ValueError("this format is not known")
    return value


def _version_text(value: Any) -> Any:
    # Whoever writes `protocol: 5` means the same as with quotes, and no other reading exists.
    return str(value) if type(value) is int else value


def _explained(words: str) -> Any:
    """Say in words what a constraint allows: for messages, and for editors (the key is VS Code's)."""
    return Field(json_schema_extra={"patternErrorMessage": words})


Identifier = Annotated[
    str,
    StringConstraints(pattern=rf"^{IDENTIFIER.pattern}$"),
    _explained("1 to 64 letters (a to z), digits, `-` and `_`"),
]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Host = Annotated[
    str,
    Field(min_length=1, max_length=253),
    AfterValidator(_host),
    _explained("a host name or an address, such as `broker.lan`, `192.168.1.2` or `::1`"),
]
TopicFilter = Annotated[
    str, AfterValidator(_topic_filter), _explained("an MQTT topic filter, such as `imu/+/samples`")
]
TopicPath = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}(/[A-Za-z0-9_.-]{1,64}){0,3}$"),
    _explained("one to four levels of a topic, such as `homeassistant`: letters, digits, `_`, `.` and `-`"),
]
Label = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$"),
    _explained("a label of the model, such as `walking`"),
]
FilePath = Annotated[
    Path, AfterValidator(_beside_config), _explained("a path, relative to the configuration file")
]
NameOrPath = Annotated[
    str,
    Field(min_length=1, max_length=4096),
    AfterValidator(_shipped_or_beside_config),
    _explained("a shipped name, or a path (with a `/` or a suffix) relative to the configuration file"),
]


class EmbeddedBroker(_Settings):
    """A broker that the daemon starts and ends by itself; it keeps nothing over a restart."""

    listen: Host = "127.0.0.1"
    """Address to listen on. The embedded broker knows no passwords: beyond loopback, anyone may connect."""
    port: Port = 1883
    """TCP port for MQTT 3.1.1."""
    mqtt5_port: Port | None = None
    """TCP port for MQTT 5 clients, if any are to be served."""

    @model_validator(mode="after")
    def _two_ports(self) -> Self:
        if self.mqtt5_port == self.port:
            raise ValueError("port and mqtt5_port must differ")
        return self


class Tls(_Settings):
    """TLS to the broker: at least version 1.2, the host name always checked."""

    ca_file: FilePath | None = None
    """PEM file of the authority that signed the broker's certificate; absent: the system's authorities."""
    cert_file: FilePath | None = None
    """PEM file of our own certificate, for a broker that asks for one."""
    key_file: FilePath | None = None
    """PEM file of its key."""
    key_credential: Identifier | None = None
    """Name of a systemd credential (LoadCredential=) that holds its key."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if self.key_file is not None and self.key_credential is not None:
            raise ValueError("give key_file or key_credential, not both")
        if (self.cert_file is None) != (self.key_file is None and self.key_credential is None):
            raise ValueError("cert_file goes together with key_file or key_credential")
        return self


class RemoteBroker(_Settings):
    """A broker that someone else runs."""

    host: Host
    """Host name or address."""
    port: Port | None = None
    """TCP port; absent: 8883 with TLS, 1883 without."""
    protocol: Annotated[
        Literal["5", "3.1.1"],
        BeforeValidator(_version_text, json_schema_input_type=Literal["5", "3.1.1", 5]),
    ] = "5"
    """MQTT version; 5 may stand without quotes."""
    username: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """User name, if the broker asks for one."""
    password_file: FilePath | None = None
    """File whose first line is the password; only its owner and group may be able to read it."""
    password_credential: Identifier | None = None
    """Name of a systemd credential (LoadCredential=) that holds the password."""
    tls: Tls | None = None
    """TLS; `tls: {}` with the system's authorities."""
    keepalive_s: Annotated[StrictInt, Field(ge=5, le=3600)] = 30
    """Seconds between signs of life."""

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_file is not None and self.password_credential is not None:
            raise ValueError("give password_file or password_credential, not both")
        if (self.password_file or self.password_credential) and self.username is None:
            raise ValueError("a password needs a username")
        return self

    @property
    def endpoint_port(self) -> int:
        """The port, its default resolved."""
        return self.port or (8883 if self.tls else 1883)

    @property
    def credentials(self) -> tuple[str, ...]:
        """The names of the systemd credentials that it takes."""
        named = (self.password_credential, self.tls and self.tls.key_credential)
        return tuple(name for name in named if name)


class MqttSource(_Settings):
    """Where samples come from: a topic filter, and how its payloads are read."""

    topic: TopicFilter
    """MQTT topic filter, for example `imu/+/samples`."""
    format: Annotated[
        str,
        AfterValidator(_known_format),
        Field(json_schema_extra={"enum": ["auto", *sorted(FORMATS)]}),
    ] = "auto"
    """Wire format of the payloads; "auto" recognises it by their content."""
    device_level: Annotated[StrictInt, Field(ge=1, le=32)] | None = None
    """Level of the topic (from 1) that names the device. Absent: the level of the filter's only `+`;
    without exactly one `+`, the payload names it."""
    sampling_rate_hz: Annotated[StrictFloat, Field(ge=1.0, le=2000.0)] | None = None
    """Rate in hertz, for formats that do not tell it (SenML, Sensor Logger); absent: measured per payload."""

    @property
    def device_index(self) -> int | None:
        """Index (from 0) of the topic level that names the device; None when the payload does."""
        if self.device_level is not None:
            return self.device_level - 1
        levels = self.topic.split("/")
        return levels.index("+") if levels.count("+") == 1 else None

    def matches(self, topic: str) -> bool:
        """Whether ``topic`` is one of those that the filter means (MQTT 5, section 4.7)."""
        wanted, levels = self.topic.split("/"), topic.split("/")
        if wanted[0] in ("+", "#") and topic.startswith("$"):
            return False
        if wanted[-1] == "#":
            wanted, levels = wanted[:-1], levels[: len(wanted) - 1]
        return len(wanted) == len(levels) and all(
            want in ("+", level) for want, level in zip(wanted, levels, strict=True)
        )

    @model_validator(mode="after")
    def _level_exists(self) -> Self:
        levels = self.topic.split("/")
        if self.device_level is not None and levels[-1] != "#" and self.device_level > len(levels):
            raise ValueError(f"device_level {self.device_level} is beyond the filter's {len(levels)} levels")
        return self


class Replay(_Settings):
    """A recording that is published over MQTT as a watch would send it."""

    recording: NameOrPath
    """Name of a shipped recording (`demo`), or a path relative to the configuration file."""
    topic: (
        Annotated[
            str,
            Field(pattern=r"^[^+#\x00]{1,512}$"),
            _explained("a topic of 1 to 512 characters without `+` and `#`"),
        ]
        | None
    ) = None
    """Topic to publish on; absent: the topic that each payload was recorded from."""
    start_s: Annotated[StrictFloat, Field(ge=0.0, le=1e6)] = 0.0
    """Seconds of the recording to leave out at its beginning."""
    speed: Annotated[StrictFloat, Field(gt=0.0, le=1000.0)] = 1.0
    """Times real time."""
    repeat: StrictBool = False
    """Begin again at the end, with the times moved on, until the daemon stops."""


class BluetoothDevice(_Settings):
    """A device that the gateway connects to by itself.

    With neither an address, a name nor a service, the nearest one that fits the profile is taken.
    """

    device: Identifier
    """The device's id in topics and events."""
    profile: Identifier
    """Which family of devices it belongs to, such as `polar`; `vskd scan` tells what is near."""
    address: (
        Annotated[
            str,
            StringConstraints(pattern=r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$"),
            _explained("a Bluetooth address, such as `A0:9E:1A:00:11:22`"),
        ]
        | None
    ) = None
    """Its Bluetooth address: the only one of these that nobody else's device has."""
    name: Annotated[str, Field(min_length=1, max_length=248)] | None = None
    """The name that it advertises; `*` at the end stands for any rest."""
    service: (
        Annotated[
            str,
            StringConstraints(
                pattern=r"^([0-9A-Fa-f]{4}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$"
            ),
            AfterValidator(_service),
            _explained("the UUID of a service, such as `180d`, or with all of its 36 characters"),
        ]
        | None
    ) = None
    """A service that it advertises."""
    adapter: (
        Annotated[
            str, StringConstraints(pattern=r"^hci[0-9]{1,2}$"), _explained("an adapter, such as `hci0`")
        ]
        | None
    ) = None
    """The adapter to use; absent: the first that is switched on."""
    options: dict[str, Any] = {}
    """What the profile lets one choose, such as its rate."""

    @model_validator(mode="after")
    def _one_way_to_find_it(self) -> Self:
        if sum(way is not None for way in (self.address, self.name, self.service)) > 1:
            raise ValueError("give one of address, name and service")
        return self


class Model(_Settings):
    """Which model bundle classifies."""

    bundle: NameOrPath = "wrist"
    """Name of a shipped bundle (`wrist`, `wrist-small`), or a path relative to the configuration file."""
    sha256: (
        Annotated[
            str,
            Field(pattern=r"^[0-9a-f]{64}$"),
            _explained("64 hexadecimal digits, `a` to `f` in lower case"),
        ]
        | None
    ) = None
    """If given, the file must have this SHA-256."""


class Limits(_Settings):
    """Bounds that keep one device, or a stranger, from harming the others."""

    max_devices: Annotated[StrictInt, Field(ge=1, le=10_000)] = 64
    """Devices served at once; samples of any further one are refused and counted."""
    max_payload_bytes: Annotated[StrictInt, Field(ge=1024, le=16 * 2**20)] = 256 * 1024
    """Larger payloads are refused unread."""
    reorder_horizon_s: Annotated[StrictFloat, Field(ge=0.0, le=30.0)] = 2.0
    """A missing batch is awaited for so many seconds of stream time before the hole is accepted."""
    max_queued_windows: Annotated[StrictInt, Field(ge=1, le=100_000)] = 1024
    """Windows that may wait for the model; then the oldest are dropped and counted."""
    max_queued_events: Annotated[StrictInt, Field(ge=16, le=1_000_000)] = 10_000
    """Messages that may wait for the broker in memory; beyond, updates are dropped first, and counted."""


Seconds = Annotated[StrictFloat, Field(ge=0.0, le=3600.0)]
PerLabel = Annotated[dict[Label, Seconds], Field(max_length=256)]


class Device(_Settings):
    """What people want of one device, over what its model's manifest says of every device."""

    wrist: Literal["left", "right"] | None = None
    """Which wrist wears it; told with its events and states."""
    hold_s: PerLabel = {}
    """Per activity: one that comes back within so many seconds has never ended (driving, at a traffic
    light). It is held only against activities with a shorter hold, and not over a gap."""
    minimum_s: PerLabel = {}
    """Per activity: one that is shorter than so many seconds is never told."""
    silence: StrictBool | Annotated[tuple[Label, ...], Field(min_length=1, max_length=256)] = False
    """`true`: nothing is told of the device but that it is silenced. Activities: those are told as
    `unknown`, as if the model were not sure, and no scores are published of the device."""

    @property
    def preferences(self) -> Preferences:
        """As the rest of the program takes them."""
        return Preferences(
            minimum_s=self.minimum_s,
            hold_s=self.hold_s,
            silenced=frozenset() if isinstance(self.silence, bool) else frozenset(self.silence),
            silent=self.silence is True,
            wrist=self.wrist,
        )


class Outbox(_Settings):
    """Where events wait until the broker has them: on disk they survive the daemon too."""

    directory: FilePath | None = None
    """Folder of the file that holds them, one gateway's alone; absent: that of systemd's StateDirectory=,
    and without one they wait in memory."""
    max_bytes: Annotated[StrictInt, Field(ge=2**20, le=2**36)] = 64 * 2**20
    """Bytes of events that may wait on disk; beyond, updates are dropped first, and counted."""
    max_age_s: Annotated[StrictFloat, Field(ge=60.0, le=315_360_000.0)] = 604_800.0
    """Events that have waited on disk for so many seconds are dropped and counted."""


class Publish(_Settings):
    """What is sent beside events and states."""

    scores: StrictBool = False
    """Publish each window's probabilities (QoS 0)."""
    event_expiry_s: Annotated[StrictInt, Field(ge=1, le=31_536_000)] | None = 3600
    """With MQTT 5, the broker keeps an event no longer than so many seconds for a subscriber that is away;
    `null`: as long as it likes."""


class HomeAssistant(_Settings):
    """How devices appear in Home Assistant, by its MQTT discovery."""

    enabled: StrictBool = False
    """Announce the gateway and its devices to Home Assistant: retained messages under `discovery_prefix`."""
    discovery_prefix: TopicPath = "homeassistant"
    """Prefix of discovery topics, as Home Assistant's MQTT integration has it."""
    status_topic: TopicPath = "homeassistant/status"
    """Topic of Home Assistant's birth message; on `online` everything is announced again."""
    moving: Annotated[tuple[Label, ...], Field(max_length=256)] = ()
    """Labels of the model, fine or coarse, under which a wearer moves; they make a binary sensor `moving`.
    None: no such sensor, as no model says of its labels which they are."""
    forget_after_days: Annotated[StrictFloat, Field(ge=1.0, le=3650.0)] = 30.0
    """A device that has told nothing for so many days leaves Home Assistant until it speaks again."""


class Http(_Settings):
    """Where the gateway tells how it is: `/healthz`, `/readyz`, `/metrics`."""

    listen: Host = "127.0.0.1"
    """Address to listen on; beyond loopback only with a token, for the answers name every device."""
    port: Port | None = None
    """TCP port, such as 9464; either this or `socket`."""
    socket: FilePath | None = None
    """Unix socket to listen on, made anew at every start; its group may use it."""
    token_file: FilePath | None = None
    """File whose first line is a token; whoever asks must send it, as `Authorization: Bearer ...`."""
    token_credential: Identifier | None = None
    """Name of a systemd credential (LoadCredential=) that holds the token."""

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.port is None) == (self.socket is None):
            raise ValueError("give port or socket, one of them")
        if self.socket is not None and len(str(self.socket).encode()) > _MAX_SOCKET_BYTES:
            raise ValueError(f"socket: at most {_MAX_SOCKET_BYTES} bytes, its folder's path included")
        if self.socket is not None and "listen" in self.model_fields_set:
            raise ValueError("listen goes with port; a socket has its path")
        if self.token_file is not None and self.token_credential is not None:
            raise ValueError("give token_file or token_credential, not both")
        has_token = self.token_file is not None or self.token_credential is not None
        if self.socket is None and not has_token and not is_loopback(self.listen):
            raise ValueError(
                f"whoever reaches {self.listen} could read all of it; give token_file or token_credential,"
                " or loopback"
            )
        return self


class Log(_Settings):
    """What the daemon tells on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is told."""
    format: Literal["auto", "console", "json"] = "auto"
    """"auto": for people on a terminal, JSON otherwise."""


def _bundle_alone(value: Any) -> Any:
    return {"bundle": value} if isinstance(value, str) else value


BundleOrModel = Annotated[Model, BeforeValidator(_bundle_alone, json_schema_input_type=NameOrPath | Model)]


class _EmbeddedShorthand(_Settings):
    """`embedded:` with its own keys below it."""

    embedded: EmbeddedBroker | None
    """A broker that the daemon starts by itself; then no other key of `broker` may stand beside it."""


def _which_broker(value: Any) -> str | None:
    if value == "embedded" or isinstance(value, EmbeddedBroker):
        return "embedded"
    if isinstance(value, dict):
        misplaced = "host" not in value and not value.keys().isdisjoint({"listen", "mqtt5_port"})
        return "embedded" if "embedded" in value or misplaced else "remote"
    return "remote" if isinstance(value, RemoteBroker) else None


def _without_shorthand(value: Any) -> Any:
    if value == "embedded":
        return {}
    if not isinstance(value, dict):
        return value
    if "embedded" not in value:
        raise ValueError("the keys of an embedded broker stand one level deeper, under `embedded:`")
    if len(value) > 1:
        raise ValueError("`embedded` stands alone: the broker is either embedded or another one")
    return {} if value["embedded"] is None else value["embedded"]


Broker = Annotated[
    Annotated[
        EmbeddedBroker,
        BeforeValidator(_without_shorthand, json_schema_input_type=Literal["embedded"] | _EmbeddedShorthand),
        Tag("embedded"),
    ]
    | Annotated[RemoteBroker, Tag("remote")],
    Discriminator(_which_broker),
    _explained("`embedded`, `embedded:` with its own keys below it, or a mapping with `host`"),
]


class Settings(_Settings):
    """The whole configuration."""

    gateway: Identifier
    """Name of this gateway: the second level of every topic that it publishes."""
    broker: Broker
    """`embedded`, or the broker's address."""
    sources: Annotated[tuple[MqttSource, ...], Field(min_length=1, max_length=256)] = ()
    """Topics that samples come from; the first whose filter matches a topic reads it."""
    bluetooth: Annotated[tuple[BluetoothDevice, ...], Field(max_length=64)] = ()
    """Devices that samples come from without a broker in between."""
    model: BundleOrModel = Model()
    """Which model bundle classifies: a name, a path, or a mapping that pins its hash as well."""
    replay: Annotated[tuple[Replay, ...], Field(max_length=64)] = ()
    """Recordings to publish as watches would."""
    devices: Annotated[dict[Identifier, Device], Field(max_length=10_000)] = {}
    """What is wanted of single devices, by their ids."""
    no_data_after_s: Annotated[StrictFloat, Field(ge=1.0, le=86_400.0)] = 10.0
    """A device that sent nothing for so many seconds is reported as `no_data`."""
    limits: Limits = Limits()
    """Bounds."""
    outbox: Outbox = Outbox()
    """Where events wait until the broker has them."""
    publish: Publish = Publish()
    """What is sent beside events and states."""
    home_assistant: HomeAssistant = HomeAssistant()
    """How devices appear in Home Assistant, by its MQTT discovery."""
    commands: StrictBool = True
    """Take commands on `vskd/<gateway>/cmd/<command>`: whoever may publish there may pause a device."""
    http: Http | None = None
    """Tell health and metrics over HTTP; absent: not at all."""
    log: Log = Log()
    """What the daemon tells on standard error."""

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if not self.sources and not self.bluetooth:
            raise ValueError("samples come from `sources`, `bluetooth` or both; give one of them")
        devices = [each.device for each in self.bluetooth]
        if len(set(devices)) < len(devices):
            raise ValueError("bluetooth: each device needs an id of its own")
        return self

    def preferences(self, device: str) -> Preferences:
        """What is wanted of a device."""
        return self.devices[device].preferences if device in self.devices else NO_PREFERENCES

    @property
    def silent(self) -> tuple[str, ...]:
        """Devices of which nothing is to be told."""
        return tuple(device for device, wanted in self.devices.items() if wanted.silence is True)

    def check_labels(self, labels: Collection[str]) -> None:
        """Check what is said of labels against those of the model.

        Raises:
            VskdError: One is not among ``labels``.
        """
        for device, wanted in self.devices.items():
            silenced = () if isinstance(wanted.silence, bool) else wanted.silence
            for key, named in (
                ("hold_s", wanted.hold_s),
                ("minimum_s", wanted.minimum_s),
                ("silence", silenced),
            ):
                if strange := sorted(set(named).difference(labels)):
                    raise VskdError(
                        f"devices.{device}.{key}: the model knows no {', '.join(strange)};"
                        f" it knows {', '.join(labels)}"
                    )
