"""Networks and volumes of a project: what is to be made of them, and the bodies of the requests that make them."""

from collections.abc import Collection
from typing import Any

from wherry.compose import names
from wherry.compose.project import Project
from wherry.compose.steps import Observed, Step


def used_networks(project: Project, services: Collection[str]) -> list[str]:
    used = {network for service in services for network in project.services[service].get("networks") or {}}
    return [key for key in project.networks if key in used]


def used_volumes(project: Project, services: Collection[str]) -> list[str]:
    used = {
        volume["source"]
        for service in services
        for volume in project.services[service].get("volumes") or ()
        if volume["type"] == "volume" and volume.get("source")
    }
    return [key for key in project.volumes if key in used]


def changed_networks(project: Project, services: Collection[str], observed: Observed) -> set[str]:
    """Networks of the project that exist, but were made from another definition. Those of other makers are kept."""
    found = set()
    for key in used_networks(project, services):
        definition = project.networks[key]
        labels = (observed.networks.get(definition["name"]) or {}).get("Labels") or {}
        if (
            not definition.get("external")
            and labels.get(names.PROJECT) == project.name
            and labels.get(names.VERSION) == names.COMPOSE_VERSION
            and labels.get(names.CONFIG_HASH) not in (None, names.resource_hash(definition))
        ):
            found.add(key)
    return found


def network_steps(
    project: Project, services: Collection[str], observed: Observed, changed: Collection[str]
) -> list[Step]:
    """Raises ComposeError for an external network that is not there."""
    steps = []
    for key in used_networks(project, services):
        definition = project.networks[key]
        name = definition["name"]
        if definition.get("external"):
            if name not in observed.networks and name not in ("host", "none", "bridge"):
                raise project.error(f"network {name} declared as external, but could not be found", ("networks", key))
        elif key in changed:
            body = network_body(project, key)
            steps.append(Step(f"network {key}", "recreate network", name, "its configuration has changed", body=body))
        elif name not in observed.networks:
            body = network_body(project, key)
            steps.append(Step(f"network {key}", "create network", name, "it is not there", body=body))
    return steps


def network_body(project: Project, key: str) -> dict[str, Any]:
    """The body of POST /networks/create."""
    definition = project.networks[key]
    labels = {
        **(definition.get("labels") or {}),
        names.NETWORK: key,
        names.PROJECT: project.name,
        names.VERSION: names.COMPOSE_VERSION,
        names.CONFIG_HASH: names.resource_hash(definition),
    }
    body: dict[str, Any] = {"Name": definition["name"], "Driver": definition.get("driver", "bridge"), "Labels": labels}
    for option, name in (
        ("driver_opts", "Options"),
        ("internal", "Internal"),
        ("attachable", "Attachable"),
        ("enable_ipv4", "EnableIPv4"),
        ("enable_ipv6", "EnableIPv6"),
    ):
        if option in definition:
            body[name] = definition[option]
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


def volume_steps(project: Project, services: Collection[str], observed: Observed) -> list[Step]:
    """Raises ComposeError for an external volume that is not there."""
    steps = []
    for key in used_volumes(project, services):
        definition = project.volumes[key]
        name = definition["name"]
        if name in observed.volumes:
            continue
        if definition.get("external"):
            raise project.error(f'external volume "{name}" not found', ("volumes", key))
        steps.append(Step(f"volume {key}", "create volume", name, "it is not there", body=volume_body(project, key)))
    return steps


def volume_body(project: Project, key: str) -> dict[str, Any]:
    """The body of POST /volumes/create."""
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


def resource_warnings(project: Project, services: Collection[str], observed: Observed) -> list[str]:
    """What `up` says of volumes that it uses as they are, though they are not as the file wants them."""
    found = []
    for key in used_volumes(project, services):
        definition = project.volumes[key]
        there = observed.volumes.get(definition["name"])
        if there is None or definition.get("external"):
            continue
        labels = there.get("Labels") or {}
        maker = labels.get(names.PROJECT)
        if maker is None:
            found.append(f'volume "{definition["name"]}" already exists but was not created by Docker Compose. '
                         "Use `external: true` to use an existing volume")  # fmt: skip
        elif maker != project.name:
            found.append(f'volume "{definition["name"]}" already exists but was created for project "{maker}" '
                         f'(expected "{project.name}"). Use `external: true` to use an existing volume')  # fmt: skip
        elif labels.get(names.VERSION) == names.COMPOSE_VERSION and labels.get(names.CONFIG_HASH) not in (
            None,
            names.resource_hash(definition),
        ):
            found.append(f'Volume "{definition["name"]}" exists but doesn\'t match configuration in compose file. '
                         "It is kept as it is: remove it to have it made anew (its data will be lost)")  # fmt: skip
    return found
