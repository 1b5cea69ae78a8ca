"""The plan: what `up` will do, as a value. Pure: project and observation in, steps out.

A step names what it acts on and why. `made_after` lists the steps (by id) that must be over before its object is made,
`after` those that must be over before its container starts: a container is made while what it depends on still starts.
Nothing is done for what is already as it should be; such a container is a `keep` step, so that the plan shows the
whole project.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from wherry.compose import names
from wherry.compose.container import create_body
from wherry.compose.errors import ComposeError
from wherry.compose.project import Project, implied_dependencies
from wherry.compose.resources import changed_networks, network_steps, volume_steps
from wherry.compose.steps import Observed, Step, Wishes, is_oneoff, name_of, number_of
from wherry.compose.unsupported import refuse


def wanted_services(project: Project, asked: Collection[str], *, no_deps: bool = False) -> list[str]:
    """The services to act on, dependencies first. Raises ComposeError for one that is not there."""
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
    """Every step of `up`, in an order in which each comes after those it waits for. Raises ComposeError."""
    return _Planner(project, observed, wishes).plan()


class _Planner:
    def __init__(self, project: Project, observed: Observed, wishes: Wishes) -> None:
        self.project = project
        self.observed = observed
        self.wishes = wishes
        self.services = wanted_services(project, wishes.services, no_deps=wishes.no_deps)
        self.steps: list[Step] = []
        self.ground: tuple[str, ...] = ()
        self.renewed: set[str] = set()
        self.fresh_networks = changed_networks(project, self.services, observed)

    def plan(self) -> list[Step]:
        for service, count in self.wishes.scale.items():
            if service not in self.project.services:
                raise ComposeError(f"no such service: {service}")
            if count > 1 and self.project.services[service].get("container_name"):
                raise ComposeError(
                    f'services.{service}: container name "{self.project.services[service]["container_name"]}" '
                    "must be unique: it cannot be scaled"
                )
        refuse(self.project, self.services)
        check_ports(self.project, self.services, self.wishes.scale)
        self.orphans()
        self.steps += network_steps(self.project, self.services, self.observed, self.fresh_networks)
        self.steps += volume_steps(self.project, self.services, self.observed)
        self.ground = tuple(step.id for step in self.steps)
        for service in self.services:
            self.service(service)
        return self.steps

    def orphans(self) -> None:
        if self.wishes.remove_orphans:
            for container in orphans(self.project, self.observed):
                name = name_of(container)
                why = "no service of the project is its own"
                self.steps.append(Step(f"remove {name}", "remove", name, why, container=container["Id"]))

    def service(self, service: str) -> None:
        dependencies = self.project.dependencies(service)
        after = [step.id for other in dependencies for step in self.steps if step.service == other]
        if self.wishes.no_deps:
            after = []
        implied = set(implied_dependencies(self.project.services[service]))
        made_after = [*self.ground, *(step.id for step in self.steps if step.service in implied)]
        count = replicas(self.project, service, self.wishes.scale)
        # Those that run and are up to date stay first when there are too many.
        ranked = sorted(
            self.observed.of_service(service),
            key=lambda c: (c["State"] != "running", self.why_recreate(c) != "", number_of(c)),
        )
        kept, surplus = ranked[:count], ranked[count:]
        taken: set[int] = set()
        for container in surplus:
            name = name_of(container)
            why = f"{service} is scaled to {count}"
            if names.REPLACES in container["Labels"] or any(number_of(one) == number_of(container) for one in kept):
                why = "it is left over from an interrupted replacement"
            step = Step(f"remove {name}", "remove", name, why, service, number_of(container), container["Id"])
            self.steps.append(step)
            made_after.append(step.id)
        for container in sorted(kept, key=number_of):
            number = number_of(container)
            if number not in taken:  # after an interrupted replacement two may carry the same number
                taken.add(number)
                self.existing(service, container, tuple(made_after), tuple(after))
                continue
            name = name_of(container)
            step = Step(f"remove {name}", "remove", name, f"another container is number {number} of {service}", service,
                        number, container["Id"])  # fmt: skip
            self.steps.append(step)
            made_after.append(step.id)
        number = 0
        for _ in range(count - len(taken)):
            number = next(free for free in range(number + 1, number + count + len(taken) + 2) if free not in taken)
            self.steps.append(
                self.make("create", service, number, "it is not there", "", tuple(made_after), tuple(after))
            )

    def existing(
        self, service: str, container: dict[str, Any], made_after: tuple[str, ...], after: tuple[str, ...]
    ) -> None:
        number, name, identity = number_of(container), name_of(container), container["Id"]
        why = self.why_recreate(container)
        if why:
            self.steps.append(self.make("recreate", service, number, why, identity, made_after, after))
            self.renewed.add(service)
            return
        wanted = names.container_name(self.project, service, number)
        if name != wanted and names.REPLACES in container["Labels"]:
            rename = Step(f"rename {name}", "rename", wanted, "its replacement was interrupted", service, number,
                          identity, made_after)  # fmt: skip
            self.steps.append(rename)
            after, name = (*after, rename.id), wanted
        # Networks and volumes must be whole before anything starts; what is surplus only needs to go.
        after = (*self.ground, *after)
        step_id = f"{service} {number}"
        if self.wishes.no_start:
            self.steps.append(Step(step_id, "keep", name, "nothing is to be started", service, number, identity))
        elif container["State"] != "running":
            self.steps.append(Step(step_id, "start", name, f"it is {container['State']}", service, number, identity,
                                   after=after))  # fmt: skip
        elif restarted := self.restarted_dependency(service):
            why = f"it restarts with {restarted} (depends_on.restart)"
            self.steps.append(Step(step_id, "restart", name, why, service, number, identity, after=after))
        else:
            why = "it is as it should be"
            self.steps.append(Step(step_id, "keep", name, why, service, number, identity, after=after))

    def restarted_dependency(self, service: str) -> str:
        """The dependency that is made anew or restarted and takes this service with it; empty if there is none."""
        for other, how in (self.project.services[service].get("depends_on") or {}).items():
            if how.get("restart") and any(
                step.service == other and step.action in ("recreate", "restart") for step in self.steps
            ):
                return str(other)
        return ""

    def make(
        self,
        action: Literal["create", "recreate"],
        service: str,
        number: int,
        why: str,
        identity: str,
        made_after: tuple[str, ...],
        after: tuple[str, ...],
    ) -> Step:
        image = self.observed.images.get(names.image_name(self.project, service), "")
        body = create_body(
            self.project, service, number, image_id=image, references=references(self.project, self.observed)
        )
        name = names.container_name(self.project, service, number)
        return Step(f"{service} {number}", action, name, why, service, number, identity, made_after, after, body)

    def why_recreate(self, container: dict[str, Any]) -> str:
        """Why an existing container is made anew; empty when it is not."""
        service = container["Labels"].get(names.SERVICE, "")
        definition = self.project.services[service]
        asked = not self.wishes.services or service in self.wishes.services
        if self.wishes.no_recreate and (asked or not self.wishes.always_recreate_deps):
            return ""
        if self.wishes.force_recreate and asked:
            return "--force-recreate"
        if self.wishes.always_recreate_deps and not asked:
            return "--always-recreate-deps"
        if container["Labels"].get(names.CONFIG_HASH) != names.config_hash(definition):
            return "its configuration has changed"
        image = self.observed.images.get(names.image_name(self.project, service))
        made_from = container["Labels"].get(names.IMAGE) or container.get("ImageID")
        if image and made_from and image != made_from:
            return "its image has changed"
        return self.lacks_resource(definition, container) or self.shares_with_renewed(definition)

    def lacks_resource(self, definition: dict[str, Any], container: dict[str, Any]) -> str:
        mounted = {mount.get("Name") for mount in container.get("Mounts") or ()}
        for volume in definition.get("volumes") or ():
            if volume["type"] == "volume" and volume.get("source"):
                name = self.project.volumes[volume["source"]]["name"]
                if name not in mounted:
                    return f"volume {name} is not mounted in it"
        connected = (container.get("NetworkSettings") or {}).get("Networks")
        for key in definition.get("networks") or {}:
            name = self.project.networks[key]["name"]
            if key in self.fresh_networks:
                return f"network {name} is made anew"
            if connected is not None and name not in connected:
                return f"it is not connected to network {name}"
            there = (self.observed.networks.get(name) or {}).get("Id")
            bound = ((connected or {}).get(name) or {}).get("NetworkID")
            if bound and bound != there:
                return f"network {name} has been made anew"
        return ""

    def shares_with_renewed(self, definition: dict[str, Any]) -> str:
        for key in ("network_mode", "ipc", "pid"):
            kind, _, other = (definition.get(key) or "").partition(":")
            if kind == "service" and other in self.renewed:
                return f"it shares a namespace with {other}, which is recreated"
        for source in definition.get("volumes_from") or ():
            if source.partition(":")[0] in self.renewed:
                return f"it has the volumes of {source.partition(':')[0]}, which is recreated"
        return ""


def references(project: Project, observed: Observed) -> dict[str, str]:
    """The container that stands for each service in a namespace, link or volumes_from: the name of its first one."""
    found = {}
    for service in project.services:
        existing = observed.of_service(service)
        renamed = [one for one in existing if names.REPLACES not in one["Labels"]]
        number = number_of(renamed[0]) if renamed else 1
        found[service] = names.container_name(project, service, number)
    return found


def check_ports(project: Project, services: Collection[str], scale: Mapping[str, int]) -> None:
    """Two containers cannot publish the same port: found before anything is started. Raises ComposeError."""
    taken: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for service in services:
        count = replicas(project, service, scale)
        for index, port in enumerate(project.services[service].get("ports") or ()):
            published = port.get("published", "")
            if not published.isdigit() or published == "0" or not count:
                continue
            address = port.get("host_ip", "")
            address = "" if address in ("0.0.0.0", "::") else address
            place = ("services", service, "ports", index)
            if count > 1:
                raise project.error(f'port {published} is published, so only one container of "{service}" can run, '
                                    f"not {count}: leave the published port out, or give a range", place)  # fmt: skip
            for other_address, other in taken.get((published, port["protocol"]), ()):
                if "" in (address, other_address) or address == other_address:
                    raise project.error(
                        f'port {published}/{port["protocol"]} of service "{service}" is published by service '
                        f'"{other}" too',
                        place,
                    )
            taken.setdefault((published, port["protocol"]), []).append((address, service))


def orphans(project: Project, observed: Observed) -> list[dict[str, Any]]:
    """Containers of the project whose service is no longer in the files."""
    known = {*project.services, *project.disabled}
    return [
        container
        for container in observed.containers
        if container["Labels"].get(names.SERVICE) not in known and not is_oneoff(container)
    ]
