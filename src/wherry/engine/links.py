"""Links between containers on the default network: the legacy way to see another container.

A link is `name:alias` in HostConfig.Links. It gives a line in /etc/hosts (see `networks.views`) and environment
variables that tell the other's address, ports and environment; it can be removed by `docker rm --link`. On a
user-defined network links are names only, and belong to the endpoint. Specified by Docker's documentation, "Legacy
container links".
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.engine.errors import InvalidParameter, NotFound
from wherry.engine.model import Container

if TYPE_CHECKING:
    from wherry.engine.containers import Containers

_NOT_SHARED = frozenset({"HOME", "PATH"})


def parse(link: str) -> tuple[str, str]:
    """`name` or `name:alias` → (name, alias). Raises InvalidParameter."""
    name, separator, alias = link.partition(":")
    name = name.removeprefix("/")
    if not name or (separator and not alias) or ":" in alias:
        raise InvalidParameter(f"bad format for links: {link}")
    # `/name:/own name/alias` is how inspect shows a link.
    return name, alias.rpartition("/")[2] or name


def legacy(host_config: Mapping[str, Any]) -> bool:
    """Whether links mean what they mean on the default network."""
    return host_config["NetworkMode"] in ("default", "bridge", "")


def check(containers: "Containers", host_config: dict[str, Any]) -> None:
    """Put each link of a new container into its full form. Raises InvalidParameter when one leads nowhere."""
    found = []
    for link in host_config.get("Links") or ():
        name, alias = parse(link)
        target = containers.find(name)
        if target is None:
            raise InvalidParameter(f"could not get container for {name}: No such container: {name}")
        if legacy(host_config) and target.host_config["NetworkMode"] == "host":
            raise InvalidParameter("conflicting options: host type networking can't be used with links. This would "
                                   "result in undefined behavior")  # fmt: skip
        found.append(f"{target.name}:{alias}")
    if found:
        host_config["Links"] = found


def shown(container: Container) -> list[str] | None:
    """HostConfig.Links as `docker inspect` shows them."""
    given = container.host_config.get("Links")
    if not given or not legacy(container.host_config):
        return None
    return [f"/{name}:/{container.name}/{alias}" for name, alias in map(parse, given)]


def environment(containers: "Containers", container: Container) -> list[str]:
    """What the links of a container that starts add to its environment."""
    if not legacy(container.host_config):
        return []
    result: list[str] = []
    for link in container.host_config.get("Links") or ():
        name, alias = parse(link)
        target = containers.find(name)
        if target is None:
            continue
        settings = containers.engine.networks.settings(target.id) or {}
        ports = target.config.get("ExposedPorts") or {}
        variables = _variables(f"/{container.name}/{alias}", settings.get("IPAddress") or "", ports)
        prefix = _prefix(alias)
        for entry in target.config["Env"]:
            key, separator, value = entry.partition("=")
            if separator and key not in _NOT_SHARED:
                variables.append(f"{prefix}_ENV_{key}={value}")
        result += variables
    return result


def _prefix(alias: str) -> str:
    return alias.upper().replace("-", "_")


def _variables(path: str, address: str, exposed: Iterable[str]) -> list[str]:
    prefix = _prefix(path.rpartition("/")[2])
    ports = sorted((protocol or "tcp", int(number)) for number, _, protocol in (port.partition("/") for port in exposed)
                   if number.isdigit())  # fmt: skip
    # TCP first, and the lowest of them is the one that the short variable names.
    ports.sort(key=lambda port: (port[0] != "tcp", port))
    result = []
    if ports:
        protocol, number = ports[0]
        result.append(f"{prefix}_PORT={protocol}://{address}:{number}")
    for protocol, number in ports:
        base = f"{prefix}_PORT_{number}_{protocol.upper()}"
        result += [
            f"{base}={protocol}://{address}:{number}",
            f"{base}_ADDR={address}",
            f"{base}_PORT={number}",
            f"{base}_PROTO={protocol}",
        ]
    return [*result, f"{prefix}_NAME={path}"]


async def remove(containers: "Containers", ref: str) -> None:
    """`DELETE /containers/{parent}/{alias}?link=1`. Raises NotFound, InvalidParameter for what is no link's name."""
    parent, _, alias = ref.removeprefix("/").rpartition("/")
    if not parent:
        raise InvalidParameter(f"Conflict, cannot remove the default link name of the container: {ref}")
    container = containers.get(parent)
    async with container.lock:
        given = container.host_config.get("Links") or []
        left = [link for link in given if parse(link)[1] != alias]
        if len(left) == len(given) or not legacy(container.host_config):
            raise NotFound(f"No such container: {ref}")
        container.host_config["Links"] = left or None
        await containers.save(container)
        _forget_host(containers.lifecycle.home(container.id) / "hosts", alias)


def _forget_host(hosts: Path, alias: str) -> None:
    try:
        lines = hosts.read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return
    # In place: the file is bound into the container.
    hosts.write_text("".join(line for line in lines if line.split()[1:2] != [alias]))


def renamed(containers: "Containers", old: str, new: str) -> list[Container]:
    """Let links follow a container to its new name. Returns those that changed, to be stored."""
    changed = []
    for container in containers.all():
        given = container.host_config.get("Links")
        if given and any(parse(link)[0] == old for link in given):
            container.host_config["Links"] = [
                f"{new}:{alias}" if name == old else f"{name}:{alias}" for name, alias in map(parse, given)
            ]
            changed.append(container)
    return changed
