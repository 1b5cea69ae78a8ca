"""`docker commit`: what a container has written becomes an image's new layer."""

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from wherry.engine.errors import Conflict, InvalidParameter
from wherry.engine.model import Container
from wherry.host.units import parse_duration

if TYPE_CHECKING:
    from wherry.engine.containers import Containers

_ALLOWED = frozenset({
    "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
})  # fmt: skip


async def commit(
    containers: "Containers",
    container: Container,
    *,
    repo: str,
    tag: str,
    comment: str,
    author: str,
    pause: bool,
    changes: Sequence[str],
    config: Mapping[str, Any] | None,
) -> str:
    """The new image's id. With `pause` a running container stands still meanwhile."""
    if container.state.status in ("removing", "dead"):
        raise Conflict(f"You cannot commit container {container.id} which is being removed")
    new = {**container.config, **{key: value for key, value in (config or {}).items() if value}}
    for line in changes:
        apply_change(new, line)
    images = containers.engine.images
    paused = pause and container.state.status == "running"
    if paused:
        # It may end by itself at any moment: then there is nothing to pause, or to let go on.
        with contextlib.suppress(Conflict):
            await containers.lifecycle.pause(container)
    try:
        image = await images.commit(
            container.id,
            images.find(container.record.image_id),
            config=_image_config(new),
            repo=repo or None,
            tag=tag or None,
            comment=comment,
            author=author,
            created_by=" ".join([container.record.path, *container.record.args]),
        )
    finally:
        if paused:
            with contextlib.suppress(Conflict):
                await containers.lifecycle.unpause(container)
    containers.emit(
        container, "commit", {"comment": comment, "imageID": image.id, "imageRef": f"{repo}:{tag}" if tag else repo}
    )
    return image.id


def _image_config(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal",
            "Healthcheck", "Shell", "OnBuild")  # fmt: skip
    return {key: config[key] for key in kept if config.get(key)}


def apply_change(config: dict[str, Any], line: str) -> None:
    """One Dockerfile instruction as `--change` gives it, applied in place. Raises InvalidParameter."""
    word, _, rest = line.strip().partition(" ")
    instruction, rest = word.upper(), rest.strip()
    if instruction not in _ALLOWED:
        raise InvalidParameter(f"{word.lower()} is not a valid change command")
    if not rest:
        raise InvalidParameter(f"{instruction} requires at least one argument")
    if instruction in ("CMD", "ENTRYPOINT"):
        config["Cmd" if instruction == "CMD" else "Entrypoint"] = _command(rest)
        if instruction == "ENTRYPOINT":
            config["Cmd"] = None
    elif instruction == "ENV":
        values = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
        values.update(_pairs(rest))
        config["Env"] = [f"{key}={value}" for key, value in values.items()]
    elif instruction == "LABEL":
        config["Labels"] = {**(config.get("Labels") or {}), **_pairs(rest)}
    elif instruction == "EXPOSE":
        ports: dict[str, dict[str, Any]] = {port if "/" in port else f"{port}/tcp": {} for port in rest.split()}
        config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **ports}
    elif instruction == "VOLUME":
        paths = orjson.loads(rest) if rest.startswith("[") else rest.split()
        config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}
    elif instruction == "ONBUILD":
        config["OnBuild"] = [*(config.get("OnBuild") or ()), rest]
    elif instruction == "WORKDIR":
        base = config.get("WorkingDir") or "/"
        config["WorkingDir"] = rest if rest.startswith("/") else f"{base.rstrip('/')}/{rest}"
    elif instruction == "HEALTHCHECK":
        times: dict[str, Any] = {}
        while rest.startswith("--"):
            flag, _, rest = rest.partition(" ")
            times |= _health_flag(flag)
            rest = rest.lstrip()
        kind, _, command = rest.partition(" ")
        if kind.upper() == "NONE":
            config["Healthcheck"] = {"Test": ["NONE"]}
        elif kind.upper() == "CMD" and command:
            parsed = _command(command.strip())
            shell = not command.strip().startswith("[")
            config["Healthcheck"] = {"Test": ["CMD-SHELL", command.strip()] if shell else ["CMD", *parsed], **times}
        else:
            raise InvalidParameter(f"Unknown type {kind!r} in HEALTHCHECK (try CMD)")
    else:
        config["User" if instruction == "USER" else "StopSignal"] = rest


_HEALTH_TIMES = {
    "--interval": "Interval", "--timeout": "Timeout", "--start-period": "StartPeriod",
    "--start-interval": "StartInterval",
}  # fmt: skip


def _health_flag(flag: str) -> dict[str, int]:
    name, _, value = flag.partition("=")
    try:
        if name == "--retries":
            return {"Retries": int(value)}
        if name in _HEALTH_TIMES:
            return {_HEALTH_TIMES[name]: parse_duration(value)}
    except ValueError as error:
        raise InvalidParameter(str(error)) from None
    raise InvalidParameter(f"unknown flag: {name.removeprefix('--')}")


def _command(text: str) -> list[str]:
    if text.startswith("["):
        try:
            parsed = orjson.loads(text)
        except orjson.JSONDecodeError:
            parsed = None
        if isinstance(parsed, list) and all(isinstance(item, str) for item in parsed):
            return parsed
    return ["/bin/sh", "-c", text]


def _pairs(text: str) -> dict[str, str]:
    words = shlex.split(text)
    if words and "=" not in words[0]:
        # The old form: one name, and the rest of the line.
        return {words[0]: " ".join(words[1:])}
    result = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            raise InvalidParameter(f"Syntax error - can't find = in {word!r}. Must be of the form: name=value")
        result[key] = value
    return result
