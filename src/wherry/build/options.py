"""What a build is asked for."""

import json
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import InvalidOptions
from .outputs import Output


@dataclass
class BuildOptions:
    """`tags` as typed. `args` are build arguments; a None value takes the variable away. Sizes in bytes.

    `secrets` are the contents for `RUN --mount=type=secret`, by id. `contexts` are named contexts: name to
    `docker-image://ref`, a directory's path, or the bytes of an archive, which are read in this order after the build
    context. `epoch` is SOURCE_DATE_EPOCH, seconds.
    """

    dockerfile: str = "Dockerfile"
    tags: list[str] = field(default_factory=list)
    args: dict[str, str | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    target: str = ""
    platform: str = ""
    no_cache: bool = False
    no_cache_filter: list[str] = field(default_factory=list)
    cache_from: list[str] = field(default_factory=list)
    """Images to take the cache from: when none of them is here, nothing is."""
    pull: bool = False
    quiet: bool = False
    network: str = "default"
    extra_hosts: list[str] = field(default_factory=list)
    shm_size: int = 0
    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    ulimits: list[dict[str, Any]] = field(default_factory=list)
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False)
    contexts: dict[str, str | AsyncIterable[bytes]] = field(default_factory=dict)
    epoch: int | None = None
    outputs: list[Output] = field(default_factory=list)
    """Besides the image in the store; written by this process."""
    keep: bool = True
    """Whether the result becomes an image in the store, or is for the outputs alone."""
    id_file: Path | None = None
    metadata_file: Path | None = None
    auth: dict[str, Any] = field(default_factory=dict, repr=False)
    """Registry credentials by server, as X-Registry-Config has them."""

    @classmethod
    def from_query(
        cls, query: Mapping[str, str], tags: list[str], auth: dict[str, Any] | None = None
    ) -> "BuildOptions":
        """Of the parameters of `POST /build`. Raises InvalidOptions for values that are none, and, by name, for
        what this builder does not do."""
        _refuse(query)
        arguments = _json(query, "buildargs", {})
        return cls(
            dockerfile=query.get("dockerfile") or "Dockerfile",
            tags=[tag for tag in tags if tag],
            args=arguments,
            epoch=epoch_of(arguments),
            labels=_json(query, "labels", {}),
            target=query.get("target", ""),
            platform=query.get("platform", ""),
            no_cache=_flag(query, "nocache"),
            cache_from=[str(name) for name in _json(query, "cachefrom", [])],
            pull=_flag(query, "pull"),
            quiet=_flag(query, "q"),
            network=query.get("networkmode") or "default",
            extra_hosts=_hosts(query.get("extrahosts", "")),
            shm_size=_number(query, "shmsize"),
            memory=_number(query, "memory"),
            memory_swap=_number(query, "memswap"),
            cpu_shares=_number(query, "cpushares"),
            cpu_period=_number(query, "cpuperiod"),
            cpu_quota=_number(query, "cpuquota"),
            cpuset_cpus=query.get("cpusetcpus", ""),
            cpuset_mems=query.get("cpusetmems", ""),
            ulimits=_json(query, "ulimits", []),
            auth=auth or {},
        )


def _refuse(query: Mapping[str, str]) -> None:
    if query.get("version") == "2":
        raise InvalidOptions("BuildKit sessions are not supported by this daemon: build with DOCKER_BUILDKIT=0")
    if _flag(query, "squash"):
        raise InvalidOptions("squash is not supported by this builder")
    if query.get("remote") and query["remote"] != "client-session":
        raise InvalidOptions(f"remote build contexts are not supported by this builder: {query['remote']}")
    isolation = query.get("isolation", "")
    if isolation not in ("", "default"):
        raise InvalidOptions(f"unsupported isolation: {json.dumps(isolation)}")
    if query.get("outputs") and _json(query, "outputs", []):
        raise InvalidOptions("build outputs are not supported over this API: use Wherry's own docker command")


def epoch_of(arguments: Mapping[str, str | None]) -> int | None:
    """The time that the build argument SOURCE_DATE_EPOCH gives. Raises InvalidOptions."""
    text = arguments.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidOptions(f"invalid SOURCE_DATE_EPOCH: {text}") from None


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").strip().lower() not in ("", "0", "no", "false", "none")


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "")
    try:
        return int(text) if text else 0
    except ValueError:
        raise InvalidOptions(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _json(query: Mapping[str, str], name: str, default: Any) -> Any:
    text = query.get(name, "")
    if not text:
        return default
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidOptions(f"error reading {name}: {error}") from None
    if value is None:
        return default
    if not isinstance(value, type(default)):
        raise InvalidOptions(f"error reading {name}: it is no {'object' if default == {} else 'list'}")
    return value


def _hosts(text: str) -> list[str]:
    if not text:
        return []
    if text.startswith("["):
        return [str(item) for item in json.loads(text)]
    return [part.strip() for part in text.split(",") if part.strip()]
