"""The plan: what `up` will do, as a value. Pure: project and observation in, steps out.

A step names what it acts on, why, and which steps must be over before it (`after`, by step id). Nothing is done for
what is already as it should be; such a container is a `Keep` step, so that the plan shows the whole project.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from wherry.compose import names
from wherry.compose.project import Project

Action: TypeAlias = Literal[
    "create network", "create volume", "keep", "create", "recreate", "start", "remove", "remove network"
]


@dataclass(frozen=True)
class Step:
    """One thing to do. `container` is the existing container's id, where there is one."""

    id: str
    action: Action
    name: str
    why: str
    service: str = ""
    number: int = 0
    container: str = ""
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
            if container["Labels"].get(names.SERVICE) == service and container["Labels"].get(names.ONEOFF) != "True"
        ]
        return sorted(found, key=number_of)


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


def number_of(container: dict[str, Any]) -> int:
    text = container["Labels"].get(names.NUMBER, "1")
    return int(text) if text.isdigit() else 1


def name_of(container: dict[str, Any]) -> str:
    found: str = (container.get("Names") or ["/" + container["Id"][:12]])[0]
    return found.removeprefix("/")


def wanted_services(project: Project, asked: Collection[str], *, no_deps: bool = False) -> list[str]:
    """The services to act on, dependencies first. Raises ComposeError for one that is not there."""
    from wherry.compose.errors import ComposeError

    order: list[str] = []

    def visit(name: str, needed: bool) -> None:
        if name not in project.services:
            if needed:
                raise ComposeError(f"no such service: {name}")
            return
        if name in order:
            return
        if not no_deps:
            for other, how in project.dependencies(name).items():
                visit(other, how.get("required", True))
        order.append(name)

    for name in asked or project.services:
        visit(name, True)
    return order


def replicas(project: Project, service: str, scale: Mapping[str, int]) -> int:
    definition = project.services[service]
    deploy = (definition.get("deploy") or {}).get("replicas")
    return scale.get(service, definition.get("scale", 1 if deploy is None else deploy))


def plan_up(project: Project, observed: Observed, wishes: Wishes) -> list[Step]:
    """Every step of `up`, in an order in which each comes after those it waits for."""
    services = wanted_services(project, wishes.services, no_deps=wishes.no_deps)
    steps = [*_networks(project, services, observed), *_volumes(project, services, observed)]
    ground = tuple(step.id for step in steps)
    renewed: set[str] = set()
    for service in services:
        after = [*ground]
        if not wishes.no_deps:
            for other in project.dependencies(service):
                after += [step.id for step in steps if step.service == other]
        made = _service(project, service, observed, wishes, tuple(after), renewed)
        if any(step.action == "recreate" for step in made):
            renewed.add(service)
        steps += made
    steps += _orphans(project, observed, wishes)
    return steps


def _networks(project: Project, services: list[str], observed: Observed) -> list[Step]:
    used = {network for service in services for network in project.services[service].get("networks") or {}}
    steps = []
    for key, definition in project.networks.items():
        if key not in used or definition.get("external") or definition["name"] in observed.networks:
            continue
        body = network_body(project, key)
        steps.append(Step(f"network {key}", "create network", definition["name"], "it is not there", body=body))
    return steps


def network_body(project: Project, key: str) -> dict[str, Any]:
    definition = project.networks[key]
    labels = {
        **(definition.get("labels") or {}),
        names.NETWORK: key,
        names.PROJECT: project.name,
        names.VERSION: names.COMPOSE_VERSION,
        names.CONFIG_HASH: names.resource_hash(definition),
    }
    body: dict[str, Any] = {"Name": definition["name"], "Driver": definition.get("driver", "bridge"), "Labels": labels}
    for option, name in (("driver_opts", "Options"), ("internal", "Internal"), ("attachable", "Attachable")):
        if option in definition:
            body[name] = definition[option]
    if "enable_ipv6" in definition:
        body["EnableIPv6"] = definition["enable_ipv6"]
    if "enable_ipv4" in definition:
        body["EnableIPv4"] = definition["enable_ipv4"]
    ipam = definition.get("ipam")
    if ipam:
        pools = [
            {
                name: pool[option]
                for option, name in (
                    ("subnet", "Subnet"),
                    ("ip_range", "IPRange"),
                    ("gateway", "Gateway"),
                    ("aux_addresses", "AuxiliaryAddresses"),
                )
                if option in pool
            }
            for pool in ipam.get("config") or ()
        ]
        body["IPAM"] = {"Driver": ipam.get("driver", "default"), "Config": pools, "Options": ipam.get("options") or {}}
    return body


def _volumes(project: Project, services: list[str], observed: Observed) -> list[Step]:
    used = {
        volume["source"]
        for service in services
        for volume in project.services[service].get("volumes") or ()
        if volume["type"] == "volume" and volume.get("source")
    }
    steps = []
    for key, definition in project.volumes.items():
        if key not in used or definition.get("external") or definition["name"] in observed.volumes:
            continue
        body = volume_body(project, key)
        steps.append(Step(f"volume {key}", "create volume", definition["name"], "it is not there", body=body))
    return steps


def volume_body(project: Project, key: str) -> dict[str, Any]:
    definition = project.volumes[key]
    labels = {
        **(definition.get("labels") or {}),
        names.VOLUME: key,
        names.PROJECT: project.name,
        names.VERSION: names.COMPOSE_VERSION,
        names.CONFIG_HASH: names.resource_hash(definition),
    }
    return {
        "Name": definition["name"],
        "Driver": definition.get("driver", "local"),
        "DriverOpts": definition.get("driver_opts") or {},
        "Labels": labels,
    }


def _service(
    project: Project, service: str, observed: Observed, wishes: Wishes, after: tuple[str, ...], renewed: set[str]
) -> list[Step]:
    count = replicas(project, service, wishes.scale)
    existing = observed.of_service(service)
    # Those that run and are up to date stay first when there are too many.
    ranked = sorted(
        existing,
        key=lambda c: (
            c["State"] != "running",
            _why_recreate(project, c, observed, wishes, renewed) != "",
            number_of(c),
        ),
    )
    kept, surplus = sorted(ranked[:count], key=number_of), ranked[count:]
    steps = []
    for container in surplus:
        steps.append(
            Step(f"remove {name_of(container)}", "remove", name_of(container), f"{service} is scaled to {count}",
                 service, number_of(container), container["Id"])
        )  # fmt: skip
    for container in kept:
        number, name = number_of(container), name_of(container)
        why = _why_recreate(project, container, observed, wishes, renewed)
        step_id = f"{service} {number}"
        if why:
            steps.append(Step(step_id, "recreate", names.container_name(project, service, number), why, service, number,
                              container["Id"], after))  # fmt: skip
        elif container["State"] == "running" or wishes.no_start:
            steps.append(Step(step_id, "keep", name, "it is as it should be", service, number, container["Id"], after))
        else:
            steps.append(
                Step(step_id, "start", name, f"it is {container['State']}", service, number, container["Id"], after)
            )
    taken = {number_of(container) for container in kept}
    number = 0
    for _ in range(count - len(kept)):
        number = next(free for free in range(number + 1, number + count + len(taken) + 2) if free not in taken)
        steps.append(Step(f"{service} {number}", "create", names.container_name(project, service, number),
                          "it is not there", service, number, after=after))  # fmt: skip
    return steps


def _why_recreate(
    project: Project, container: dict[str, Any], observed: Observed, wishes: Wishes, renewed: set[str]
) -> str:
    """Why an existing container is made anew; empty when it is not."""
    service = container["Labels"].get(names.SERVICE, "")
    definition = project.services[service]
    if wishes.no_recreate:
        return ""
    asked = not wishes.services or service in wishes.services
    if wishes.force_recreate and (asked or wishes.always_recreate_deps):
        return "--force-recreate"
    if container["Labels"].get(names.CONFIG_HASH) != names.config_hash(definition):
        return "its configuration has changed"
    image = observed.images.get(names.image_name(project, service))
    made_from = container["Labels"].get(names.IMAGE) or container.get("ImageID")
    if image and made_from and image != made_from:
        return "its image has changed"
    for volume in definition.get("volumes") or ():
        if volume["type"] == "volume" and volume.get("source"):
            name = project.volumes[volume["source"]]["name"]
            mounted = {mount.get("Name") for mount in container.get("Mounts") or ()}
            if name not in mounted:
                return f"volume {name} is not mounted in it"
    shared = [
        other
        for key in ("network_mode", "ipc", "pid")
        for kind, _, other in [(definition.get(key) or "").partition(":")]
        if kind == "service"
    ]
    for other in shared:
        if other in renewed:
            return f"it shares a namespace with {other}, which is recreated"
    return ""


def _orphans(project: Project, observed: Observed, wishes: Wishes) -> list[Step]:
    if not wishes.remove_orphans:
        return []
    return [
        Step(f"remove {name_of(container)}", "remove", name_of(container), "no service of the project is its own",
             container=container["Id"])
        for container in orphans(project, observed)
    ]  # fmt: skip


def orphans(project: Project, observed: Observed) -> list[dict[str, Any]]:
    """Containers of the project whose service is no longer in the files."""
    known = {*project.services, *project.disabled}
    return [
        container
        for container in observed.containers
        if container["Labels"].get(names.SERVICE) not in known and container["Labels"].get(names.ONEOFF) != "True"
    ]
