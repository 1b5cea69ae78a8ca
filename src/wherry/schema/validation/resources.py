"""Checks of resource names and amounts: requests and limits, quotas, capacities."""

from typing import Any, Final

from wherry.schema import names, quantity
from wherry.schema.validation.field import NEGATIVE, NOT_INTEGER, Causes

_STANDARD: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_WHOLE: Final = frozenset({"pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps"})
_HUGE: Final = "hugepages-"


def is_standard_container_resource(name: str) -> bool:
    return name in _STANDARD or name.startswith(_HUGE)


def is_extended(name: str) -> bool:
    """Whether this is a device or another resource of somebody's own domain, counted in whole units."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def resource_name(name: str, path: str, causes: Causes) -> bool:
    """A qualified name; says whether it is one."""
    problems = names.qualified_name(name)
    causes.all_invalid(path, name, problems)
    return not problems


def container_resource_name(name: str, path: str, causes: Causes) -> None:
    if not resource_name(name, path, causes):
        return
    if "/" not in name:
        if not is_standard_container_resource(name):
            causes.invalid(path, name, "must be a standard resource for containers")
    elif "kubernetes.io/" not in name and name.startswith("requests."):
        causes.invalid(path, name, 'must not have the prefix "requests."')


def amount(name: str, value: Any, path: str, causes: Causes) -> None:
    """An amount of a resource: not negative, whole where halves make no sense."""
    parsed = quantity.parse(value)
    if parsed.nano < 0:
        causes.invalid(path, value, NEGATIVE)
    if (name in _WHOLE or is_extended(name) or name.startswith(_HUGE)) and not parsed.is_integer:
        causes.invalid(path, value, NOT_INTEGER)


def requirements(resources: dict[str, Any] | None, path: str, claims: frozenset[str], causes: Causes) -> None:
    """`resources` of a container: names, amounts, and requests within limits."""
    if not resources:
        return
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    huge = cpu_or_memory = False
    for name, value in limits.items():
        where = f"{path}.limits[{name}]"
        container_resource_name(name, where, causes)
        amount(name, value, where, causes)
        huge = huge or name.startswith(_HUGE)
        cpu_or_memory = cpu_or_memory or name in ("cpu", "memory")
    for name, value in requests.items():
        where = f"{path}.requests[{name}]"
        container_resource_name(name, where, causes)
        amount(name, value, where, causes)
        limit = limits.get(name)
        if limit is not None:
            asked, most = quantity.parse(value), quantity.parse(limit)
            if (is_extended(name) or name.startswith(_HUGE)) and asked != most:
                causes.invalid(f"{path}.requests", value, f"must be equal to {name} limit of {limit}")
            elif asked > most:
                causes.invalid(f"{path}.requests", value, f"must be less than or equal to {name} limit of {limit}")
        elif is_extended(name) or name.startswith(_HUGE):
            causes.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        huge = huge or name.startswith(_HUGE)
        cpu_or_memory = cpu_or_memory or name in ("cpu", "memory")
    if huge and not cpu_or_memory:
        causes.forbidden(path, "HugePages require cpu or memory")
    seen: set[str] = set()
    for index, claim in enumerate(resources.get("claims") or ()):
        name = claim.get("name", "")
        where = f"{path}.claims[{index}]"
        if not name:
            causes.required(f"{where}.name")
        elif name in seen:
            causes.duplicate(where, name)
        elif name not in claims:
            causes.not_found(where, name)
        seen.add(name)


def amounts(found: dict[str, Any] | None, path: str, causes: Causes) -> None:
    """A map of resource names to amounts, such as a node's capacity."""
    for name, value in (found or {}).items():
        where = f"{path}[{name}]"
        resource_name(name, where, causes)
        amount(name, value, where, causes)
