"""From files to a Project: parse, interpolate, convert, extend, merge, include, check.

Each file goes through parse → interpolate → convert to the canonical form → extends, and is then merged onto the
ones before it; so every rule after conversion sees long forms only. Nothing here asks the engine anything.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.compose import dotenv, file_fields
from wherry.compose.check import check
from wherry.compose.complete import complete
from wherry.compose.convert import At
from wherry.compose.errors import ComposeError
from wherry.compose.interpolate import InterpolationError, expand
from wherry.compose.merge import merge, strip
from wherry.compose.project import Project
from wherry.compose.source import KeyPath, Override, Reset, Source, error_at, parse
from wherry.compose.unsupported import not_honoured

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


@dataclass(frozen=True)
class Steps:
    """Which steps of loading are taken: `config` can leave each of them out."""

    interpolate: bool = True
    resolve_paths: bool = True
    normalize: bool = True
    """Real names for networks and volumes, and the default network."""
    read_env_files: bool = True
    check: bool = True


@dataclass
class _Loader:
    directory: Path
    environment: dict[str, str]
    steps: Steps = field(default_factory=Steps)
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

    def sources(self, path: Path, named_at: Callable[[str], ComposeError] = ComposeError) -> list[Source]:
        """The documents of a file. `named_at(message)` is the error for one that cannot be read."""
        text = self.texts.get(path)
        if text is None:
            try:
                text = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                raise named_at(f"open {path}: no such file or directory") from None
            except OSError as error:
                raise named_at(f"open {path}: {(error.strerror or str(error)).lower()}") from None
            except UnicodeDecodeError as error:
                raise ComposeError(f"not a text file: {error}", file=path) from None
        found = list(parse(text, path))
        if not any(source.data for source in found):
            raise ComposeError("empty compose file", file=path)
        return found

    def convert(self, source: Source, folder: Path) -> dict[str, Any]:
        data = self.interpolate(source.data, source, ()) if self.steps.interpolate else source.data
        if "version" in data:
            self.warn(f"{source.file}: the attribute `version` is obsolete, it will be ignored, please remove it")
        at = At((), source.lines, folder if self.steps.resolve_paths else None, not self.steps.interpolate)
        converted: dict[str, Any] = file_fields.file(data, at)
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

    def error(self, message: str, path: KeyPath) -> ComposeError:
        """A ComposeError that names the line of `path` in whichever file said it."""
        return error_at(self.lines, message, path)

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
        file = self.directory / wanted.get("file", source.file)
        if file != source.file:
            other = self.sources(file, lambda message: source.error(message, path))[0]
            other_services = self.convert(other, file.parent).get("services") or {}
        if wanted["service"] not in other_services:
            raise source.error(f"cannot extend service \"{name}\" in {source.file}: service \"{wanted['service']}\" "
                               f"not found in {other.file}", path)  # fmt: skip
        base = self.extended(wanted["service"], other_services, other, (*chain, (source.file, name)))
        own = {key: value for key, value in service.items() if key != "extends"}
        return merge({"services": {name: base}}, {"services": {name: own}})["services"][name]

    # -- include

    def include(self, merged: dict[str, Any], entry: dict[str, Any], including: tuple[Path, ...]) -> None:
        paths = [self.directory / path for path in entry["path"]]
        if any(path in including for path in paths):
            listed = " -> ".join(str(path) for path in (*including, *paths))
            raise self.error(f"include cycle detected: {listed}", ("include",))
        for path in paths:
            self.sources(path, lambda message: self.error(message, ("include",)))
        directory = self.directory / (entry.get("project_directory") or paths[0].parent)
        env_files = [self.directory / path for path in entry.get("env_file") or ()]
        for file in env_files:
            if not os.path.isfile(file):
                raise self.error(f"env file {file} not found: no such file or directory", ("include",))
        environment = read_environment(directory, env_files or None, self.environment)
        inner = _Loader(directory, environment, self.steps, self.warnings)
        included = inner.load(paths, including)
        for section in _SECTIONS:
            for name, definition in (included.get(section) or {}).items():
                ours = merged.setdefault(section, {})
                if name in ours and ours[name] != definition:
                    raise self.error(f"conflicts with imported resource of {paths[0]}", (section, name))
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
    steps: Steps = Steps(),
) -> Project:
    """The project of `files` (absolute paths). `environment` as `read_environment` gives it; `name` wins over all.

    `texts` holds the content of files that are not on disk (`-f -`). The profiles of the services in `enable` are on,
    as those of services named on a command line are. `compatible` names containers as Docker Compose 1 did;
    `steps` leaves some of the work out. Raises ComposeError.
    """
    directory = directory or files[0].parent
    loader = _Loader(directory, dict(environment), steps, texts=dict(texts or {}))
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
    complete(project, services, read_env_files=steps.read_env_files, normalize=steps.normalize)
    if steps.check and steps.interpolate:  # what is not known yet cannot be checked
        check(project)
    for service, definition in project.services.items():
        for key, lost in not_honoured(project, definition):
            loader.warn(f"services.{service}.{key} is not honoured: {lost}")
    return project


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
