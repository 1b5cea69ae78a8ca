"""Which stages a target needs, and which of those can be begun at once."""

import platform
from collections.abc import Callable, Container, Iterator

from .instructions import Command, Copy, Dockerfile, Stage
from .runmounts import parse_mount
from .state import PREDEFINED_ARGS

Expand = Callable[[str, int], str]


def dependencies(dockerfile: Dockerfile, stage: Stage, expand: Expand, contexts: Container[str] = ()) -> list[int]:
    """The stages that `stage` names: its base, the sources of its copies and of its mounts. A named context stands in
    for the stage of its name."""
    found: list[int] = []
    for name in _names(stage, expand):
        if name in contexts:
            continue
        other = earlier(dockerfile, name, stage.index)
        if other is not None and other not in found:
            found.append(other)
    return found


def _names(stage: Stage, expand: Expand) -> Iterator[str]:
    yield expand(stage.base, stage.line)
    for instruction in stage.instructions:
        if isinstance(instruction, Copy) and instruction.source_stage:
            yield instruction.source_stage
        elif isinstance(instruction, Command):
            for text in instruction.mounts:
                try:
                    origin = parse_mount(text, "/").origin
                except ValueError:
                    continue  # said with its line when the step is reached
                if origin:
                    yield origin


def earlier(dockerfile: Dockerfile, name: str, before: int) -> int | None:
    """The stage before number `before` that `name` (or a number) means."""
    for stage in reversed(dockerfile.stages[:before]):
        if stage.name and stage.name == name.lower():
            return stage.index
    if name.isdigit() and int(name) < before:
        return int(name)
    return None


def needed(dockerfile: Dockerfile, target: int, expand: Expand, contexts: Container[str] = ()) -> list[int]:
    """The stages to build for `target`, in the order of the file."""
    found: set[int] = set()
    pending = [target]
    while pending:
        index = pending.pop()
        if index not in found:
            found.add(index)
            pending += dependencies(dockerfile, dockerfile.stages[index], expand, contexts)
    return sorted(found)


def platform_args(target: tuple[str, str] | None) -> dict[str, str]:
    """The arguments that every Dockerfile may use before and, once declared, after FROM."""
    machine = platform.machine()
    here = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    system, architecture = target or ("linux", here)
    return {
        "BUILDPLATFORM": f"linux/{here}", "BUILDOS": "linux", "BUILDARCH": here, "BUILDVARIANT": "",
        "TARGETPLATFORM": f"{system}/{architecture}", "TARGETOS": system, "TARGETARCH": architecture,
        "TARGETVARIANT": "",
    }  # fmt: skip


def always_known() -> frozenset[str]:
    """Build arguments about which nobody is warned when no ARG names them."""
    return PREDEFINED_ARGS | {"SOURCE_DATE_EPOCH", "BUILDKIT_INLINE_CACHE", "BUILDKIT_MULTI_PLATFORM"}
