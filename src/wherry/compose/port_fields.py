"""`ports` and `expose` of a service: the short forms with their ranges, and the long one.

https://docs.docker.com/reference/compose-file/services/#ports
"""

import re
from typing import Any

from wherry.compose.convert import At, integer, kind, mapping, one_of, scalar, string, tagged


def port(value: Any, at: At) -> list[dict[str, Any]]:
    """`[host_ip:][published:]target[/protocol]`, with ranges, as one entry per target port, or the long form."""
    if isinstance(value, dict):
        found = _PORT(value, at)
        found.setdefault("mode", "ingress")
        found.setdefault("protocol", "tcp")
        for key in ("target", "published"):
            text = str(found.get(key, ""))
            if text not in ("", "0") and not (at.lenient and "$" in text):
                _port_range(text, at / key, text)
        return [found]
    return _short_ports(scalar(value, at), at)


_PORT = mapping(
    {
        "name": string,
        "mode": one_of("host", "ingress"),
        "host_ip": string,
        "target": integer,
        "published": scalar,
        "protocol": one_of("tcp", "udp", "sctp"),
        "app_protocol": string,
    },
    required=("target",),
)


def _short_ports(text: str, at: At) -> list[dict[str, Any]]:
    rest, _, protocol = text.partition("/")
    protocol = (protocol or "tcp").lower()
    if protocol not in ("tcp", "udp", "sctp"):
        at.fail(f"Invalid proto: {protocol}")
    host_ip = published = ""
    if rest.startswith("["):  # an IPv6 address
        host_ip, closed, rest = rest[1:].partition("]:")
        if not closed:
            at.fail(f"Invalid ip address: {text}")
        published, _, target = rest.rpartition(":")
    else:
        front, _, target = rest.rpartition(":")
        host_ip, _, published = front.rpartition(":")
    targets = _port_range(target, at, text)
    entries: list[dict[str, Any]] = []
    outside = _port_range(published, at, text) if published else []
    if outside and len(outside) != len(targets) and len(targets) != 1:
        at.fail(f"Invalid ranges specified for container and host Ports: {target} and {published}")
    for index, inside in enumerate(targets):
        entry: dict[str, Any] = {"mode": "ingress", "target": inside, "protocol": protocol}
        if host_ip:
            entry["host_ip"] = host_ip
        if outside:
            entry["published"] = published if len(targets) == 1 else str(outside[index])
        entries.append(entry)
    return entries


def _port_range(text: str, at: At, whole: str) -> list[int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not match:
        at.fail(f"Invalid containerPort: {whole}" if text else f"No port specified: {whole}<empty>")
    first, last = int(match[1]), int(match[2] or match[1])
    if not (0 < first <= last <= 65535):
        at.fail(f"Invalid port range: {text}")
    return list(range(first, last + 1))


def ports(value: Any, at: At) -> list[Any]:
    if not isinstance(value, list):
        at.fail(f"must be an array, not {kind(value)}")
    found: list[Any] = []
    for index, item in enumerate(value):
        entries = tagged(port, item, at / index)
        found += entries if isinstance(entries, list) else [entries]
    return found


def expose(value: Any, at: At) -> list[str]:
    """`port[-port][/protocol]` each, as it is written."""
    if not isinstance(value, list):
        at.fail(f"must be an array, not {kind(value)}")
    found = []
    for index, item in enumerate(value):
        text = scalar(item, at / index)
        exposed_ports(text, at / index)
        found.append(text)
    return found


def exposed_ports(text: str, at: At) -> list[str]:
    """Every port that an entry of `expose` stands for, as `80/tcp`."""
    numbers, _, protocol = text.partition("/")
    checked = one_of("tcp", "udp", "sctp")((protocol or "tcp").lower(), at)
    return [f"{number}/{checked}" for number in _port_range(numbers, at, text)]
