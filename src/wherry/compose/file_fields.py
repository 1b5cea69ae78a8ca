"""The top level of a Compose file: every section with its converter.

https://docs.docker.com/reference/compose-file/. `file(data, at)` gives the canonical form of a whole file.
"""

from typing import Any

from wherry.compose.convert import (
    At,
    boolean,
    labels,
    list_of,
    map_of,
    mapping,
    one_or_list,
    optional,
    path,
    scalar,
    string,
)
from wherry.compose.service_fields import service


def external(value: Any, at: At) -> dict[str, Any] | bool:
    """`external: true`, or the old form with a name, which is kept as a mapping for the caller to resolve."""
    if isinstance(value, dict):
        found: dict[str, Any] = mapping({"name": string})(value, at)
        return found
    return boolean(value, at)


_IPAM = mapping(
    {
        "driver": string,
        "config": list_of(
            mapping({"subnet": string, "ip_range": string, "gateway": string, "aux_addresses": map_of(string)})
        ),
        "options": map_of(scalar),
    }
)
NETWORK = mapping(
    {
        "name": string,
        "driver": string,
        "driver_opts": map_of(scalar),
        "attachable": boolean,
        "enable_ipv4": boolean,
        "enable_ipv6": boolean,
        "external": external,
        "internal": boolean,
        "ipam": _IPAM,
        "labels": labels,
    }
)
VOLUME = mapping(
    {"name": string, "driver": string, "driver_opts": map_of(scalar), "external": external, "labels": labels}
)
CONTENT = {
    "name": string,
    "file": path,
    "environment": string,
    "content": string,
    "external": external,
    "labels": labels,
    "template_driver": string,
    "driver": string,
    "driver_opts": map_of(scalar),
}


def _content(kind: str) -> Any:
    checked = mapping(CONTENT)

    def check(value: Any, at: At) -> dict[str, Any]:
        found: dict[str, Any] = checked(value, at)
        sources = [key for key in ("file", "environment", "content", "external") if found.get(key)]
        if len(sources) != 1:
            listed = "|".join(sources) if sources else "none of them"
            at.fail(f"{kind} must have exactly one of file, environment, content or external: found {listed}")
        return found

    return check


def include(value: Any, at: At) -> list[dict[str, Any]]:
    """Each entry as `{path: [...], project_directory, env_file: [...]}` with absolute paths."""
    entry = mapping(
        {"path": one_or_list(path), "project_directory": path, "env_file": one_or_list(path)}, required=("path",)
    )
    found = []
    for index, item in enumerate(list_of(lambda one, _: one)(value, at)):
        place = at / index
        found.append({"path": [path(item, place)]} if isinstance(item, str) else entry(item, place))
    return found


def _empty() -> dict[str, Any]:
    return {}


file = mapping(
    {
        "version": scalar,
        "name": string,
        "include": include,
        "services": map_of(service),
        "networks": map_of(optional(NETWORK), null=_empty),
        "volumes": map_of(optional(VOLUME), null=_empty),
        "configs": map_of(_content("config")),
        "secrets": map_of(_content("secret")),
        "models": map_of(lambda value, at: value),
    }
)
