"""`--publish` and `--expose`: text to the API's ExposedPorts and PortBindings."""

from __future__ import annotations

from wherry.cli.docker.container.create_flags import is_address
from wherry.cli.docker.errors import CliError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any


def published(specs: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`[[ADDRESS:][HOST]:]CONTAINER[/PROTOCOL]`, ranges included, as (exposed, bindings)."""
    exposed: dict[str, Any] = {}
    bindings: dict[str, list[dict[str, str]]] = {}
    for spec in specs:
        for port, binding in _one(_plain(spec)):
            exposed[port] = {}
            bindings.setdefault(port, []).append(binding)
    return exposed, bindings


def _plain(spec: str) -> str:
    """The long form (`published=8080,target=80,protocol=tcp`) as the short one."""
    if "=" not in spec:
        return spec
    values: dict[str, str] = {}
    for field in spec.split(","):
        key, equals, value = field.partition("=")
        if not equals:
            raise CliError(f"invalid publish opts format (should be name=value but got '{field}')")
        values[key] = value
    return f"{values.get('published', '')}:{values.get('target', '')}/{values.get('protocol', 'tcp')}"


def _one(spec: str) -> list[tuple[str, dict[str, str]]]:
    body, slash, protocol = spec.rpartition("/")
    if not slash:
        body, protocol = spec, "tcp"
    address, host, inside = _split(body)
    if not inside:
        raise CliError(f"no port specified: {spec}<empty>")
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise CliError(f"invalid proto: {protocol}")
    if address and not is_address(address):
        raise CliError(f"invalid IP address: {address}")
    first, last = port_range(inside, f"invalid containerPort: {inside}")
    if not host:
        return [(f"{port}/{protocol}", {"HostIp": address, "HostPort": ""}) for port in range(first, last + 1)]
    low, high = port_range(host, f"invalid hostPort: {host}")
    if high - low != last - first:
        if first != last:
            raise CliError(f"invalid ranges specified for container and host Ports: {inside} and {host}")
        return [(f"{first}/{protocol}", {"HostIp": address, "HostPort": host})]
    return [
        (f"{port}/{protocol}", {"HostIp": address, "HostPort": str(low + port - first)})
        for port in range(first, last + 1)
    ]


def _split(body: str) -> tuple[str, str, str]:
    rest, colon, inside = body.rpartition(":")
    if not colon:
        return "", "", body
    address, colon, host = rest.rpartition(":")
    if not colon:
        return "", rest, inside
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return address, host, inside


def port_range(text: str, wrong: str) -> tuple[int, int]:
    """`80` or `80-90`. CliError with the text `wrong`."""
    first, dash, last = text.partition("-")
    try:
        low = int(first)
        high = int(last) if dash else low
    except ValueError:
        raise CliError(wrong) from None
    if not 0 <= low <= 65535 or not low <= high <= 65535:
        raise CliError(wrong)
    return low, high


def exposed(specs: list[str]) -> dict[str, Any]:
    """`--expose` values."""
    ports: dict[str, Any] = {}
    for spec in specs:
        if ":" in spec:
            raise CliError(f"invalid port format for --expose: {spec}")
        body, _, protocol = spec.partition("/")
        bad = next((part for part in body.partition("-")[::2] if part and not part.isdigit()), body)
        low, high = port_range(
            body,
            f'invalid range format for --expose: {spec}, error: strconv.ParseUint: parsing "{bad}": invalid syntax',
        )
        for port in range(low, high + 1):
            ports[f"{port}/{protocol or 'tcp'}"] = {}
    return ports
