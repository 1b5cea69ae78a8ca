"""What must be true of a project before anything is planned."""

from typing import Any

from wherry.compose.project import Project, implied_dependencies


def check(project: Project) -> None:
    """Everything named must be there, and start order must exist. Raises ComposeError."""
    for name, service in project.services.items():
        place = ("services", name)
        if not (service.get("image") or service.get("build") or service.get("provider")):
            raise project.error(
                f'service "{name}" has neither an image nor a build context specified: invalid compose project', place
            )
        _check_scale(project, name, service)
        _check_limits(project, name, service)
        for network in service.get("networks") or {}:
            if network not in project.networks:
                raise project.error(f'service "{name}" refers to undefined network {network}: invalid compose project',
                                    (*place, "networks"))  # fmt: skip
        for volume in service.get("volumes") or ():
            if volume["type"] == "volume" and volume.get("source") and volume["source"] not in project.volumes:
                raise project.error(
                    f'service "{name}" refers to undefined volume {volume["source"]}: invalid compose project',
                    (*place, "volumes"),
                )
        for kind, known in (("configs", project.configs), ("secrets", project.secrets)):
            for grant in service.get(kind) or ():
                if grant["source"] not in known:
                    raise project.error(
                        f'service "{name}" refers to undefined {kind[:-1]} {grant["source"]}: invalid compose project',
                        (*place, kind),
                    )
        _check_dependencies(project, name, service)
    _check_cycles(project)


def _check_scale(project: Project, name: str, service: dict[str, Any]) -> None:
    replicas = (service.get("deploy") or {}).get("replicas")
    scale = service.get("scale")
    if scale is not None and replicas is not None and scale != replicas:
        raise project.error("can't set distinct values on 'scale' and 'deploy.replicas': invalid compose project",
                            ("services", name, "scale"))  # fmt: skip
    if (scale if scale is not None else replicas or 1) > 1 and service.get("container_name"):
        raise project.error(
            f"can't set container_name and {name} as container name must be unique: invalid compose project",
            ("services", name, "container_name"),
        )


_SAID_TWICE = (
    ("cpus", "limits", "cpus"),
    ("mem_limit", "limits", "memory"),
    ("pids_limit", "limits", "pids"),
    ("mem_reservation", "reservations", "memory"),
)


def _check_limits(project: Project, name: str, service: dict[str, Any]) -> None:
    """A limit that both the service and its `deploy` name must be the same."""
    resources = (service.get("deploy") or {}).get("resources") or {}
    for key, part, other in _SAID_TWICE:
        one, two = service.get(key), (resources.get(part) or {}).get(other)
        if one is not None and two is not None and float(one) != float(two):
            raise project.error(
                f"can't set distinct values on '{key}' and 'deploy.resources.{part}.{other}': invalid compose project",
                ("services", name, key),
            )


def _check_dependencies(project: Project, name: str, service: dict[str, Any]) -> None:
    place = ("services", name, "depends_on")
    for other, how in (service.get("depends_on") or {}).items():
        if other in project.services or (other in project.disabled and not how["required"]):
            continue
        if other in project.disabled:
            raise project.error(f'service "{name}" depends on "{other}", whose profiles are not enabled: '
                                "invalid compose project", place)  # fmt: skip
        if how["required"]:
            raise project.error(
                f'service "{name}" depends on undefined service "{other}": invalid compose project', place
            )
    for other in implied_dependencies(service):
        if other not in project.services and other not in project.disabled:
            raise project.error(f'service "{name}" depends on undefined service "{other}": invalid compose project',
                                ("services", name))  # fmt: skip


def _check_cycles(project: Project) -> None:
    done: set[str] = set()

    def visit(name: str, chain: tuple[str, ...]) -> None:
        if name in chain:
            cycle = " -> ".join([*chain[chain.index(name) :], name])
            raise project.error(f"dependency cycle detected: {cycle}", ("services", name, "depends_on"))
        if name in done or name not in project.services:
            return
        for other in project.dependencies(name):
            visit(other, (*chain, name))
        done.add(name)

    for name in project.services:
        visit(name, ())
