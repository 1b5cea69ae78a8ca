"""From files to a Project: parse, interpolate, convert, extend, merge, include, check.

Each file goes through parse → interpolate → convert to the canonical form → extends, and is then merged onto the
ones before it; so every rule after conversion sees long forms only. Nothing here asks the engine anything.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.compose import dotenv, file_fields
from wherry.compose.convert import At
from wherry.compose.errors import ComposeError
from wherry.compose.interpolate import InterpolationError, expand
from wherry.compose.merge import merge, strip
from wherry.compose.project import Project, implied_dependencies
from wherry.compose.service_fields import UNHONOURED
from wherry.compose.source import KeyPath, Override, Reset, Source, parse

DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDE_FILES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SECTIONS = ("services", "networks", "volumes", "configs", "secrets")


def find_files(folder: Path) -> list[Path]:
    """The default file in `folder` or the nearest parent, with its override file. Raises ComposeError."""
    for place in (folder, *folder.parents):
        for name in DEFAULT_FILES:
            if (place / name).is_file():
                found = [place / name]
                found += [place / other for other in OVERRIDE_FILES if (place / other).is_file()][:1]
                return found
    raise ComposeError("no configuration file provided: not found")


def read_environment(directory: Path, env_files: Sequence[Path] | None, shell: Mapping[str, str]) -> dict[str, str]:
    """Variables for interpolation: those of the env files (by default `.env`), the shell wins."""
    found: dict[str, str] = {}
    paths = list(env_files) if env_files else [directory / ".env"] if (directory / ".env").is_file() else []
    for path in paths:
        values = dotenv.read(path, {**found, **shell})
        found |= {name: value for name, value in values.items() if value is not None}
    return {**found, **shell}


def normalize_name(text: str) -> str:
    """A project name from a folder's name: lower case, only letters, digits, `-` and `_`."""
    return re.sub(r"[^-_a-z0-9]", "", text.lower()).lstrip("_-")


@dataclass
class _Loader:
    directory: Path
    environment: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    lines: dict[KeyPath, tuple[Path, int]] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    """Contents given by the caller (standard input) by path."""

    def load(self, paths: Sequence[Path], including: tuple[Path, ...] = ()) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for path in paths:
            for source in self.sources(path):
                document = self.convert(source, self.directory)
                document = self.extend(document, source)
                for key, place in source.lines.items():
                    self.lines[key] = place
                merged = merge(merged, document)
        merged = strip(merged)
        for entry in merged.pop("include", ()):
            self.include(merged, entry, (*including, *paths))
        return merged

    def sources(self, path: Path) -> list[Source]:
        text = self.texts.get(path)
        if text is None:
            try:
                text = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                raise ComposeError(f"open {path}: no such file or directory") from None
            except (OSError, UnicodeDecodeError) as error:
                raise ComposeError(f"{path} cannot be read: {error}") from None
        found = list(parse(text, path))
        if not any(source.data for source in found):
            raise ComposeError("empty compose file", file=path)
        return found

    def convert(self, source: Source, folder: Path) -> dict[str, Any]:
        data = self.interpolate(source.data, source, ())
        if "version" in data:
            self.warn(f"{source.file}: the attribute `version` is obsolete, it will be ignored, please remove it")
        converted: dict[str, Any] = file_fields.file(data, At((), source.lines, folder))
        converted.pop("version", None)
        for name in converted.get("services") or {}:
            if not re.fullmatch(r"[a-zA-Z0-9._-]+", name):
                raise source.error(f"service name {name!r} is not valid", ("services", name))
        return converted

    def interpolate(self, value: Any, source: Source, path: KeyPath) -> Any:
        if isinstance(value, str):
            try:
                return expand(value, self.environment, self.unset)
            except InterpolationError as error:
                raise source.error(f"error while interpolating: {error}", path) from None
        if isinstance(value, dict):
            return {key: self.interpolate(item, source, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.interpolate(item, source, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, Override):
            return Override(self.interpolate(value.value, source, path))
        return value

    def unset(self, name: str) -> None:
        self.warn(f'The "{name}" variable is not set. Defaulting to a blank string.')

    def warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    # -- extends

    def extend(self, document: dict[str, Any], source: Source) -> dict[str, Any]:
        services = document.get("services") or {}
        resolved = {name: self.extended(name, services, source, ()) for name in services}
        return {**document, "services": resolved} if services else document

    def extended(self, name: str, services: dict[str, Any], source: Source, chain: tuple[tuple[Path, str], ...]) -> Any:
        service = services[name]
        if not isinstance(service, dict) or "extends" not in service:
            return service
        path = ("services", name, "extends")
        if (source.file, name) in chain:
            names = " -> ".join(one for _, one in (*chain, (source.file, name)))
            raise source.error(f"circular reference: {names}", path)
        wanted = service["extends"]
        if isinstance(wanted, Reset):
            return service
        wanted = wanted.value if isinstance(wanted, Override) else wanted
        other, other_services = source, services
        if "file" in wanted and Path(wanted["file"]) != source.file:
            file = Path(wanted["file"])
            other = self.sources(file)[0]
            other_services = self.convert(other, file.parent).get("services") or {}
        if wanted["service"] not in other_services:
            raise source.error(f"cannot extend service \"{name}\" in {source.file}: service \"{wanted['service']}\" "
                               f"not found in {other.file}", path)  # fmt: skip
        base = self.extended(wanted["service"], other_services, other, (*chain, (source.file, name)))
        own = {key: value for key, value in service.items() if key != "extends"}
        return merge({"services": {name: base}}, {"services": {name: own}})["services"][name]

    # -- include

    def include(self, merged: dict[str, Any], entry: dict[str, Any], including: tuple[Path, ...]) -> None:
        paths = [Path(path) for path in entry["path"]]
        if any(path in including for path in paths):
            listed = " -> ".join(str(path) for path in (*including, *paths))
            raise ComposeError(f"include cycle detected: {listed}")
        directory = Path(entry.get("project_directory") or paths[0].parent)
        env_files = [Path(path) for path in entry.get("env_file") or ()]
        environment = read_environment(directory, env_files or None, self.environment)
        inner = _Loader(directory, environment, self.warnings)
        included = inner.load(paths, including)
        for section in _SECTIONS:
            for name, definition in (included.get(section) or {}).items():
                ours = merged.setdefault(section, {})
                if name in ours and ours[name] != definition:
                    raise ComposeError(f"{section}.{name} conflicts with imported resource", file=paths[0])
                ours[name] = definition
        for key, place in inner.lines.items():
            self.lines.setdefault(key, place)


def load(
    files: Sequence[Path],
    *,
    directory: Path | None = None,
    environment: Mapping[str, str],
    name: str | None = None,
    profiles: Iterable[str] = (),
    enable: Iterable[str] = (),
    texts: Mapping[Path, str] | None = None,
    compatible: bool = False,
) -> Project:
    """The project of `files` (absolute paths). `environment` as `read_environment` gives it; `name` wins over all.

    `texts` holds the content of files that are not on disk (`-f -`). The profiles of the services in `enable` are on,
    as those of services named on a command line are. `compatible` names containers as Docker Compose 1 did.
    Raises ComposeError.
    """
    directory = directory or files[0].parent
    loader = _Loader(directory, dict(environment), texts=dict(texts or {}))
    project_name = _project_name(name, files, directory, loader)
    loader.environment.setdefault("COMPOSE_PROJECT_NAME", project_name)
    merged = loader.load(files)
    enabled = tuple(dict.fromkeys([*profiles, *_words(environment.get("COMPOSE_PROFILES", ""))]))
    services: dict[str, dict[str, Any]] = merged.get("services") or {}
    named = [profile for service in enable for profile in (services.get(service) or {}).get("profiles") or ()]
    enabled = tuple(dict.fromkeys([*enabled, *named]))
    active = {key: value for key, value in services.items() if _is_enabled(value, enabled)}
    project = Project(
        name=project_name,
        directory=directory,
        files=list(files),
        services=active,
        disabled={key: value for key, value in services.items() if key not in active},
        networks=dict(merged.get("networks") or {}),
        volumes=dict(merged.get("volumes") or {}),
        configs=dict(merged.get("configs") or {}),
        secrets=dict(merged.get("secrets") or {}),
        environment=loader.environment,
        profiles=enabled,
        extensions={key: value for key, value in merged.items() if key.startswith("x-")},
        warnings=loader.warnings,
        lines=loader.lines,
        separator="_" if compatible else "-",
    )
    for service in services:
        _complete_service(project, service, services[service])
    _complete_resources(project)
    check(project)
    for service, definition in project.services.items():
        for key, lost in _not_honoured(project, definition):
            loader.warn(f"services.{service}.{key} is not honoured: {lost}")
    return project


def _not_honoured(project: Project, definition: dict[str, Any]) -> list[tuple[str, str]]:
    """(key, what is lost) for all that a service says and containers will not have."""
    found = [(key, UNHONOURED[key]) for key in sorted(UNHONOURED.keys() & definition.keys())]
    resources = (definition.get("deploy") or {}).get("resources") or {}
    for part in ("limits", "reservations"):
        for key, lost in (("devices", "no GPU runtime"), ("generic_resources", "no resources of that kind")):
            if (resources.get(part) or {}).get(key):
                found.append((f"deploy.resources.{part}.{key}", lost))
    for name, network in (definition.get("networks") or {}).items():
        if (network or {}).get("interface_name"):
            found.append((f"networks.{name}.interface_name", "interfaces are named by the engine"))
    for kind, section in (("configs", project.configs), ("secrets", project.secrets)):
        for grant in definition.get(kind) or ():
            if section[grant["source"]].get("file"):
                said = [key for key in ("uid", "gid", "mode") if key in grant]
                found += [(f"{kind}.{grant['source']}.{key}", "the file is mounted as it is") for key in said]
    for volume in definition.get("volumes") or ():
        if (volume.get("bind") or {}).get("recursive"):
            found.append((f"volumes.{volume['target']}.bind.recursive", "mounts below it are always taken along"))
    return found


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _is_enabled(service: dict[str, Any], profiles: tuple[str, ...]) -> bool:
    wanted = service.get("profiles")
    return not wanted or "*" in profiles or any(profile in profiles for profile in wanted)


def _project_name(given: str | None, files: Sequence[Path], directory: Path, loader: _Loader) -> str:
    """By precedence: the caller's, COMPOSE_PROJECT_NAME, the last `name:` in the files, the folder's name."""
    name = given or loader.environment.get("COMPOSE_PROJECT_NAME")
    if name:
        if not _NAME.fullmatch(name):
            raise ComposeError(
                f'invalid project name "{name}": must consist only of lowercase alphanumeric characters, hyphens, and '
                "underscores as well as start with a letter or number"
            )
        return name
    for path in reversed(files):
        for source in reversed(loader.sources(path)):
            said = source.data.get("name")
            if isinstance(said, str):
                found = str(loader.interpolate(said, source, ("name",)))
                if not _NAME.fullmatch(found):
                    raise source.error(f'invalid project name "{found}"', ("name",))
                return found
    found = normalize_name(directory.name)
    if not found:
        raise ComposeError("project name must not be empty: give one with -p or `name:`")
    return found


def _complete_service(project: Project, name: str, service: dict[str, Any]) -> None:
    """Reads env_file and label_file, resolves valueless variables, and joins the default network."""
    from_files: dict[str, str | None] = {}
    for entry in service.pop("env_file", ()):
        path = Path(entry["path"])
        if not path.exists():
            if entry["required"]:
                raise project.error(f"env file {path} not found: stat {path}: no such file or directory",
                                    ("services", name, "env_file"))  # fmt: skip
            continue
        if entry.get("format") == "raw":
            pairs = (line.partition("=") for line in path.read_text().splitlines() if line and not line.startswith("#"))
            from_files |= {key: value for key, _, value in pairs}
        else:
            from_files |= dotenv.read(path, project.environment)
    environment = from_files | (service.get("environment") or {})
    resolved = {key: project.environment.get(key) if value is None else value for key, value in environment.items()}
    if environment:
        service["environment"] = {key: value for key, value in resolved.items() if value is not None}
    for label_file in service.pop("label_file", ()):
        read = dotenv.read(Path(label_file), {})
        service["labels"] = {key: value or "" for key, value in read.items()} | service.get("labels", {})
    if "build" in service and service["build"].get("args"):
        args = service["build"]["args"]
        service["build"]["args"] = {
            key: project.environment.get(key) if value is None else value for key, value in args.items()
        }
    if "network_mode" in service and service.get("networks"):
        raise project.error(
            "service declares mutually exclusive `network_mode` and `networks`: invalid compose project",
            ("services", name, "network_mode"),
        )
    if "network_mode" not in service and not service.get("networks"):
        service["networks"] = {"default": None}


def _complete_resources(project: Project) -> None:
    """Gives every network and volume its real name, and adds the default network where it is used."""
    everything = [*project.services.values(), *project.disabled.values()]
    if any("default" in (service.get("networks") or {}) for service in everything):
        project.networks.setdefault("default", {})
    for section in (project.networks, project.volumes, project.configs, project.secrets):
        for key, definition in section.items():
            external = definition.get("external")
            if isinstance(external, dict):
                definition["name"] = external.get("name", key)
                definition["external"] = True
            elif external:
                definition.setdefault("name", key)
            else:
                definition.pop("external", None)
                definition.setdefault("name", f"{project.name}_{key}")


def check(project: Project) -> None:
    """Everything named must be there, and start order must exist. Raises ComposeError."""
    for name, service in project.services.items():
        place = ("services", name)
        if not service.get("image") and not service.get("build"):
            raise project.error(
                f'service "{name}" has neither an image nor a build context specified: invalid compose project', place
            )
        _check_scale(project, name, service)
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
                if known[grant["source"]].get("external"):
                    name_there = known[grant["source"]].get("name", grant["source"])
                    raise project.error(f"unsupported external {kind[:-1]} {name_there}", (kind, grant["source"]))
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
