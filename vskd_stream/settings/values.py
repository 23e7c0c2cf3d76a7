"""What a single value may be (a name, a path, a host, a topic), and the words in which another is refused."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictInt, StringConstraints, ValidationInfo

from vskd_stream.samples import IDENTIFIER


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


def explained(words: str) -> Any:
    """Say in words what a constraint allows: for messages, and for editors (the key is VS Code's)."""
    return Field(json_schema_extra={"patternErrorMessage": words})


Identifier = Annotated[
    str,
    StringConstraints(pattern=rf"^{IDENTIFIER.pattern}$"),
    explained("1 to 64 letters (a to z), digits, `-` and `_`"),
]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Host = Annotated[
    str,
    Field(min_length=1, max_length=253),
    AfterValidator(_host),
    explained("a host name or an address, such as `broker.lan`, `192.168.1.2` or `::1`"),
]
TopicFilter = Annotated[
    str, AfterValidator(_topic_filter), explained("an MQTT topic filter, such as `imu/+/samples`")
]
TopicPath = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}(/[A-Za-z0-9_.-]{1,64}){0,3}$"),
    explained("one to four levels of a topic, such as `homeassistant`: letters, digits, `_`, `.` and `-`"),
]
Label = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$"),
    explained("a label of the model, such as `walking`"),
]
FilePath = Annotated[
    Path, AfterValidator(_beside_config), explained("a path, relative to the configuration file")
]
NameOrPath = Annotated[
    str,
    Field(min_length=1, max_length=4096),
    AfterValidator(_shipped_or_beside_config),
    explained("a shipped name, or a path (with a `/` or a suffix) relative to the configuration file"),
]
