"""The plan of `down`: everything of a project goes, in the opposite order of its start."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wherry.compose import names
from wherry.compose.plan import orphans, wanted_services
from wherry.compose.project import Project
from wherry.compose.steps import Observed, Step, is_oneoff, name_of, number_of


@dataclass(frozen=True)
class TeardownWishes:
    """How `down` was asked to behave. `images` is whose images go too: `all` or those that are `local` builds."""

    services: Collection[str] = ()
    volumes: bool = False
    remove_orphans: bool = False
    images: Literal["", "all", "local"] = ""


def stop_order(project: Project | None, observed: Observed) -> dict[str, list[str]]:
    """For each service that has containers, those that must be stopped before it: its dependents."""
    found: dict[str, list[str]] = {service: [] for service in observed.services}
    for service in observed.services:
        for other in needs(project, observed, service):
            if other in found and other != service:
                found[other].append(service)
    return found


def needs(project: Project | None, observed: Observed, service: str) -> list[str]:
    """The services that `service` depends on, by the file, or else by its containers' labels."""
    if project is not None:
        return list(project.dependencies(service)) if service in project.services else []
    labels: Mapping[str, str] = next((one["Labels"] for one in observed.of_service(service)), {})
    return [one.partition(":")[0] for one in labels.get(names.DEPENDS_ON, "").split(",") if one]


def plan_down(name: str, project: Project | None, observed: Observed, wishes: TeardownWishes) -> list[Step]:
    """Containers first, then networks, then, if wished, volumes and images. Raises ComposeError.

    Without a project all that carries its label goes.
    """
    order = stop_order(project, observed)
    strangers = {one["Id"] for one in orphans(project, observed)} if project is not None else set()
    asked = set(wanted_services(project, wishes.services, no_deps=True)) if project and wishes.services else None
    chosen = []
    for container in observed.containers:
        service = container["Labels"].get(names.SERVICE, "")
        if wishes.services and service not in (asked if asked is not None else wishes.services):
            continue
        if container["Id"] in strangers and not wishes.remove_orphans:
            continue
        chosen.append(container)
    ids: dict[str, list[str]] = {}
    for container in chosen:
        ids.setdefault(container["Labels"].get(names.SERVICE, ""), []).append(f"remove {name_of(container)}")
    steps = []
    for container in _dependents_first(chosen, order):
        service, label = container["Labels"].get(names.SERVICE, ""), name_of(container)
        after = [step for dependent in order.get(service, ()) for step in ids.get(dependent, ())]
        if _in_cycle(service, order):
            after = []
        why = "no service of the project is its own" if container["Id"] in strangers else "the project goes down"
        body = {"volumes": wishes.volumes or is_oneoff(container), "running": container["State"] != "created"}
        steps.append(Step(f"remove {label}", "remove", label, why, service, number_of(container), container["Id"],
                          after=tuple(after), body=body))  # fmt: skip
    if wishes.services:
        return steps
    containers = tuple(step.id for step in steps)
    return steps + _resources(name, project, observed, wishes, containers)


def _dependents_first(chosen: list[dict[str, Any]], order: dict[str, list[str]]) -> list[dict[str, Any]]:
    ranks: dict[str, int] = {}

    def rank(service: str, chain: tuple[str, ...] = ()) -> int:
        if service in ranks or service in chain:
            return ranks.get(service, 0)
        ranks[service] = 1 + max((rank(one, (*chain, service)) for one in order.get(service, ())), default=0)
        return ranks[service]

    return sorted(chosen, key=lambda one: (rank(one["Labels"].get(names.SERVICE, "")), name_of(one)))


def _in_cycle(service: str, order: dict[str, list[str]]) -> bool:
    """Labels of containers made from different versions of a file may contradict each other."""
    seen: set[str] = set()
    open_ones = list(order.get(service, ()))
    while open_ones:
        one = open_ones.pop()
        if one == service:
            return True
        if one not in seen:
            seen.add(one)
            open_ones += order.get(one, ())
    return False


def _resources(
    name: str, project: Project | None, observed: Observed, wishes: TeardownWishes, containers: tuple[str, ...]
) -> list[Step]:
    steps = []
    for network, found in sorted(observed.networks.items()):
        if (found.get("Labels") or {}).get(names.PROJECT) == name:
            why, body = "the project goes down", {"id": found["Id"]}
            steps.append(Step(f"network {network}", "remove network", network, why, after=containers, body=body))
    if wishes.volumes:
        ours = {
            one for one, found in observed.volumes.items() if (found.get("Labels") or {}).get(names.PROJECT) == name
        }
        if project is not None:
            ours |= {
                one["name"]
                for one in project.volumes.values()
                if not one.get("external") and one["name"] in observed.volumes
            }
        why = "--volumes"
        steps += [Step(f"volume {one}", "remove volume", one, why, after=containers) for one in sorted(ours)]
    if wishes.images and project is not None:
        wanted = {
            names.image_name(project, service)
            for service, definition in {**project.services, **project.disabled}.items()
            if service in project.services and (wishes.images == "all" or not definition.get("image"))
        }
        steps += [
            Step(f"image {one}", "remove image", one, f"--rmi {wishes.images}", after=containers)
            for one in sorted(wanted)
            if one in observed.images
        ]
    return steps
