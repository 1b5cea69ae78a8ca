"""`docker port`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "CONTAINER [PRIVATE_PORT[/PROTO]]"
ARGUMENTS = (1, 2)
FLAGS = ""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    container = cli.client.get(f"/containers/{arguments[0]}/json")
    ports = container["NetworkSettings"].get("Ports") or {}
    if len(arguments) == 2:
        port, _, protocol = arguments[1].partition("/")
        if not port.isdigit() or int(port) > 65535:
            raise CliError(f"Error: invalid port ({port})")
        bindings = ports.get(f"{port}/{protocol or 'tcp'}")
        if not bindings:
            raise CliError(f"Error: No public port '{arguments[1]}' published for {arguments[0]}")
        for binding in bindings:
            cli.out(_address(binding))
        return
    lines = [(port, binding) for port, bindings in ports.items() for binding in bindings or []]
    for port, binding in sorted(lines, key=lambda line: (int(line[0].partition("/")[0]), line[0])):
        cli.out(f"{port} -> {_address(binding)}")


def _address(binding: dict[str, str]) -> str:
    host = binding["HostIp"]
    return f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}"
