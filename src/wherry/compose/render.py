"""A project written down again, in canonical form: what `config` prints."""

from collections.abc import Sequence
from typing import Any

from wherry.compose.project import Project


def model(
    project: Project, services: Sequence[str], *, everything: bool = False, escape: bool = True
) -> dict[str, Any]:
    """The whole as plain data: `name`, `services`, and of networks, volumes, configs and secrets those in use.

    `escape` doubles dollar signs, so that what is read again gives the same.
    """
    chosen = {name: _service(project.services[name]) for name in sorted(services)}
    found: dict[str, Any] = {"name": project.name, "services": chosen}
    for section, used in (
        ("networks", {key for one in chosen.values() for key in one.get("networks") or {}}),
        (
            "volumes",
            {
                volume["source"]
                for one in chosen.values()
                for volume in one.get("volumes") or ()
                if isinstance(volume, dict) and volume["type"] == "volume" and "source" in volume
            },
        ),
        ("configs", {grant["source"] for one in chosen.values() for grant in one.get("configs") or ()}),
        ("secrets", {grant["source"] for one in chosen.values() for grant in one.get("secrets") or ()}),
    ):
        definitions: dict[str, dict[str, Any]] = getattr(project, section)
        shown = {key: _sorted(definitions[key]) for key in sorted(definitions) if everything or key in used}
        if shown:
            found[section] = shown
    found |= {key: project.extensions[key] for key in sorted(project.extensions)}
    whole: dict[str, Any] = escaped(found) if escape else found
    return whole


def _service(definition: dict[str, Any]) -> Any:
    found = {key: definition[key] for key in sorted(definition) if definition[key] not in ({}, [])}
    if "profiles" in found:
        found = {"profiles": found.pop("profiles"), **found}
    return _sorted(found, top=False)


_FIRST = """
    type name mode host_ip context dockerfile dockerfile_inline source target published protocol app_protocol
    read_only condition restart test timeout interval retries start_period start_interval
"""
_RANKS = {key: number for number, key in enumerate(_FIRST.split())}
"""Keys that come before others, in this order, in the mappings within a service."""


def _sorted(value: Any, *, top: bool = True) -> Any:
    """Mappings in Docker Compose's order: of its structures where that differs from the alphabet's."""
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not top:
        return {key: _sorted(item) for key, item in value.items()}
    known = {"target", "test", "condition", "context"} & value.keys()
    rank = _RANKS if known else {}
    return {key: _sorted(value[key]) for key in sorted(value, key=lambda key: (rank.get(key, len(rank)), key))}


def escaped(value: Any) -> Any:
    """Dollar signs doubled: what is read again gives the same."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
    return value


def to_yaml(value: Any) -> str:
    """YAML as Docker Compose writes it: two spaces, also before the dash of a list."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        resolved: str = dumper.resolve(yaml.ScalarNode, data, (True, False))  # type: ignore[no-untyped-call]
        if not style and resolved != "tag:yaml.org,2002:str":
            style = '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    def nothing(dumper: yaml.SafeDumper, data: None) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:null", "null")

    def quantity(dumper: yaml.SafeDumper, data: float) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:float", f"{data:g}")

    Dumper.add_representer(str, text)
    Dumper.add_representer(type(None), nothing)
    Dumper.add_representer(float, quantity)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100_000, default_flow_style=False)
