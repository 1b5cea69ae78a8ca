"""The words of a plan: a step, what the engine was seen to have, and how `up` was asked to behave."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from wherry.compose import names

Action: TypeAlias = Literal[
    "pull", "build",
    "create network", "recreate network", "create volume",
    "keep", "create", "recreate", "rename", "start", "restart",
    "stop", "remove", "remove network", "remove volume", "remove image",
]  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One thing to do. `container` is the existing container's id, where there is one; `body` the create request."""

    id: str
    action: Action
    name: str
    why: str
    service: str = ""
    number: int = 0
    container: str = ""
    made_after: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    body: dict[str, Any] = field(default_factory=dict, compare=False)

    def line(self) -> str:
        """`recreate shop-web-1: its configuration has changed`."""
        return f"{self.action} {self.name}: {self.why}"


@dataclass(frozen=True)
class Observed:
    """What the engine has: containers as GET /containers/json lists them, networks and volumes by name, image ids."""

    containers: tuple[dict[str, Any], ...] = ()
    networks: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    volumes: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)

    def of_service(self, service: str) -> list[dict[str, Any]]:
        """The service's containers by number, without those of one-off runs."""
        found = [
            container
            for container in self.containers
            if container["Labels"].get(names.SERVICE) == service and not is_oneoff(container)
        ]
        return sorted(found, key=number_of)

    @property
    def services(self) -> list[str]:
        """Names of the services that have containers."""
        return sorted({container["Labels"].get(names.SERVICE, "") for container in self.containers})


@dataclass(frozen=True)
class Wishes:
    """How `up` was asked to behave."""

    services: Collection[str] = ()
    scale: Mapping[str, int] = field(default_factory=dict)
    force_recreate: bool = False
    no_recreate: bool = False
    always_recreate_deps: bool = False
    no_deps: bool = False
    no_start: bool = False
    remove_orphans: bool = False
    renew_anonymous_volumes: bool = False


def is_oneoff(container: dict[str, Any]) -> bool:
    return bool(container["Labels"].get(names.ONEOFF) == "True")


def number_of(container: dict[str, Any]) -> int:
    text = container["Labels"].get(names.NUMBER, "1")
    return int(text) if text.isdigit() else 1


def name_of(container: dict[str, Any]) -> str:
    found: str = (container.get("Names") or ["/" + container["Id"][:12]])[0]
    return found.removeprefix("/")
