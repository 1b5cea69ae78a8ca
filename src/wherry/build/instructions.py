"""What the instructions of a Dockerfile mean: typed, checked, grouped into stages.

Specified in the Dockerfile reference. Arguments are still unexpanded here, because what variables are worth is
known only when the stage is built. Errors carry the line, in the words of Docker's parser.
"""

import difflib
import re
from dataclasses import dataclass, field
from typing import Any

from .errors import DockerfileError
from .parser import Heredoc, Node, Parsed, parse_heredoc

KEYWORDS = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER",
    "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")


@dataclass(kw_only=True)
class Instruction:
    """`line` is where it begins, `text` the instruction as written, continuation lines joined."""

    line: int
    text: str
    keyword: str


@dataclass(kw_only=True)
class KeyValue(Instruction):
    """ENV and LABEL. `pairs` are unexpanded (name, value, old form?)."""

    pairs: list[tuple[str, str, bool]]


@dataclass(kw_only=True)
class Arg(Instruction):
    """(name, default or None), unexpanded."""

    pairs: list[tuple[str, str | None]]


@dataclass(kw_only=True)
class Copy(Instruction):
    """COPY and ADD."""

    sources: list[str]
    inline: list[Heredoc]
    destination: str
    source_stage: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    excludes: list[str] = field(default_factory=list)
    checksum: str = ""
    unpack: bool | None = None
    keep_git_dir: bool = False


@dataclass(kw_only=True)
class Command(Instruction):
    """RUN, CMD and ENTRYPOINT: `shell` is True for the shell form, `args` then one string."""

    args: list[str]
    shell: bool
    heredocs: list[Heredoc] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    network: str = ""
    security: str = ""
    devices: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Words(Instruction):
    """EXPOSE, VOLUME, SHELL, and with a single word WORKDIR, USER, STOPSIGNAL, MAINTAINER."""

    args: list[str]


@dataclass(kw_only=True)
class Healthcheck(Instruction):
    """The API's HealthConfig, times in nanoseconds."""

    health: dict[str, Any]


@dataclass(kw_only=True)
class Onbuild(Instruction):
    """`trigger` is the text of the instruction to run later."""

    trigger: str


@dataclass
class Stage:
    """One FROM and what follows it. `base` and `platform` are unexpanded."""

    index: int
    base: str
    name: str
    platform: str
    line: int
    text: str
    instructions: list[Instruction] = field(default_factory=list)


@dataclass
class Dockerfile:
    """The whole: the ARGs before the first FROM, and the stages."""

    global_args: list[Arg]
    stages: list[Stage]
    escape: str
    parsed: Parsed

    def stage(self, name: str) -> Stage | None:
        """By name (the last one of that name before it is hidden by none) or by number."""
        for stage in reversed(self.stages):
            if stage.name and stage.name == name.lower():
                return stage
        if name.isdigit() and int(name) < len(self.stages):
            return self.stages[int(name)]
        return None


def interpret(parsed: Parsed) -> Dockerfile:
    """Raises DockerfileError."""
    result = Dockerfile([], [], parsed.escape, parsed)
    for node in parsed.nodes:
        try:
            if node.keyword == "FROM":
                result.stages.append(_from(node, len(result.stages)))
                continue
            instruction = interpret_node(node)
        except ValueError as error:
            raise DockerfileError(f"dockerfile parse error on line {node.line}: {error}", node.line) from None
        if not result.stages:
            if not isinstance(instruction, Arg):
                raise DockerfileError("no build stage in current context", node.line)
            result.global_args.append(instruction)
        else:
            result.stages[-1].instructions.append(instruction)
    if not result.stages:
        raise DockerfileError("dockerfile contains no stages to build")
    return result


def interpret_node(node: Node) -> Instruction:
    """One instruction other than FROM. Raises ValueError with Docker's words."""
    make = _MAKERS.get(node.keyword)
    if make is None:
        raise ValueError(f"unknown instruction: {node.name}{_suggest(node.name.upper(), KEYWORDS)}")
    return make(node)


def _suggest(name: str, known: tuple[str, ...] | list[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean {prefix}{close[0]}?)" if close else ""


_BOOLEANS = {"": True, "true": True, "false": False}


def _flags(
    node: Node, strings: tuple[str, ...] = (), lists: tuple[str, ...] = (), booleans: tuple[str, ...] = ()
) -> Any:
    """The flags by name: str, list of str, or bool; absent ones are absent."""
    found: dict[str, Any] = {}
    for flag in node.flags:
        name, separator, value = flag.partition("=")
        key = name[2:]
        known = (*strings, *lists, *booleans)
        if key not in known:
            raise ValueError(f"unknown flag: {name}{_suggest(key, list(known))}")
        if key in found and key not in lists:
            raise ValueError(f"duplicate flag specified: {name}")
        if key in booleans:
            if separator and not value:
                raise ValueError(f"missing a value on flag: {name}")
            if value.lower() not in _BOOLEANS:
                raise ValueError(f"expecting boolean value for flag {name}, not: {value}")
            found[key] = _BOOLEANS[value.lower()]
        elif not separator:
            raise ValueError(f"missing a value on flag: {name}")
        elif key in lists:
            found.setdefault(key, []).append(value)
        else:
            found[key] = value
    return found


def _common(node: Node) -> dict[str, Any]:
    return {"line": node.line, "text": node.original.strip(), "keyword": node.keyword}


def _at_least_one(node: Node) -> None:
    if not node.args:
        raise ValueError(f"{node.keyword} requires at least one argument")


def _exactly_one(node: Node) -> str:
    if len(node.args) != 1:
        raise ValueError(f"{node.keyword} requires exactly one argument")
    return node.args[0]


def _from(node: Node, index: int) -> Stage:
    args = node.args
    name = ""
    if len(args) == 3 and args[1].lower() == "as":
        name = args[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise ValueError(
                f'invalid name for build stage: "{args[2]}", name can\'t start with a number or contain symbols'
            )
    elif len(args) != 1:
        raise ValueError("FROM requires either one or three arguments")
    flags = _flags(node, strings=("platform",))
    return Stage(index, args[0], name, flags.get("platform", ""), node.line, node.original.strip())


def _key_value(node: Node) -> Instruction:
    _flags(node)
    _at_least_one(node)
    triples = zip(node.args[::3], node.args[1::3], node.args[2::3], strict=True)
    pairs = [(name, value, separator == "") for name, value, separator in triples]
    if any(not name for name, _, _ in pairs):
        raise ValueError(f"{node.keyword} names can not be blank")
    return KeyValue(**_common(node), pairs=pairs)


def _arg(node: Node) -> Instruction:
    _at_least_one(node)
    pairs: list[tuple[str, str | None]] = []
    for word in node.args:
        name, separator, value = word.partition("=")
        if separator and not name:
            raise ValueError("ARG names can not be blank")
        pairs.append((name, value if separator else None))
    return Arg(**_common(node), pairs=pairs)


def _copy(node: Node) -> Instruction:
    if len(node.args) < 2:
        raise ValueError(
            f"{node.keyword} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )
    if node.keyword == "COPY":
        flags = _flags(node, ("chown", "chmod", "from"), ("exclude",), ("link", "parents"))
    else:
        flags = _flags(node, ("chown", "chmod", "checksum"), ("exclude",), ("link", "keep-git-dir", "unpack"))
    *words, destination = node.args
    if parse_heredoc(destination) is not None:
        raise ValueError(f"{node.keyword} cannot accept a heredoc as a destination")
    contents = {heredoc.name: heredoc for heredoc in node.heredocs}
    sources: list[str] = []
    inline: list[Heredoc] = []
    for word in words:
        announced = None if node.json_form else parse_heredoc(word)
        if announced is not None and announced.name in contents:
            inline.append(contents[announced.name])
        else:
            sources.append(word)
    return Copy(
        **_common(node),
        sources=sources,
        inline=inline,
        destination=destination,
        source_stage=flags.get("from", ""),
        chown=flags.get("chown", ""),
        chmod=flags.get("chmod", ""),
        link=flags.get("link", False),
        parents=flags.get("parents", False),
        excludes=flags.get("exclude", []),
        checksum=flags.get("checksum", ""),
        unpack=flags.get("unpack"),
        keep_git_dir=flags.get("keep-git-dir", False),
    )


def _run(node: Node) -> Instruction:
    flags = _flags(node, ("network", "security"), ("mount", "device"))
    if flags.get("network", "default") not in ("default", "none", "host"):
        raise ValueError(f'unsupported network mode "{flags["network"]}"')
    if flags.get("security", "sandbox") not in ("sandbox", "insecure"):
        raise ValueError(f'security "{flags["security"]}" is not valid')
    return Command(
        **_common(node),
        args=node.args,
        shell=not node.json_form,
        heredocs=node.heredocs,
        mounts=flags.get("mount", []),
        network=flags.get("network", ""),
        security=flags.get("security", ""),
        devices=flags.get("device", []),
    )


def _command(node: Node) -> Instruction:
    _flags(node)
    return Command(**_common(node), args=node.args, shell=not node.json_form)


def _words(node: Node) -> Instruction:
    _flags(node)
    _at_least_one(node)
    args = [word.strip() for word in node.args] if node.keyword == "VOLUME" else sorted(node.args)
    if node.keyword == "VOLUME" and not all(args):
        raise ValueError("VOLUME specified can not be an empty string")
    return Words(**_common(node), args=args)


def _one_word(node: Node) -> Instruction:
    word = _exactly_one(node)
    _flags(node)
    return Words(**_common(node), args=[word])


def _shell(node: Node) -> Instruction:
    _flags(node)
    _at_least_one(node)
    if not node.json_form:
        raise ValueError(f"SHELL requires the arguments to be in JSON form: {node.original}")
    return Words(**_common(node), args=node.args)


def _healthcheck(node: Node) -> Instruction:
    _at_least_one(node)
    kind, *args = node.args
    if kind.upper() == "NONE":
        if args:
            raise ValueError("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(**_common(node), health={"Test": ["NONE"]})
    flags = _flags(node, ("interval", "timeout", "start-period", "start-interval", "retries"))
    if kind.upper() != "CMD":
        raise ValueError(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)')
    if not args:
        raise ValueError("Missing command after HEALTHCHECK CMD")
    health: dict[str, Any] = {"Test": ["CMD" if node.json_form else "CMD-SHELL", *args]}
    for flag, key in (
        ("interval", "Interval"), ("timeout", "Timeout"), ("start-period", "StartPeriod"),
        ("start-interval", "StartInterval"),
    ):  # fmt: skip
        if flags.get(flag):
            nanoseconds = duration(flags[flag])
            if 0 < nanoseconds < 1_000_000:
                raise ValueError(f'Interval "{flag}" cannot be less than 1ms')
            if nanoseconds:
                health[key] = nanoseconds
    if flags.get("retries"):
        if not re.fullmatch(r"[+-]?\d+", flags["retries"]):
            raise ValueError(f'strconv.ParseInt: parsing "{flags["retries"]}": invalid syntax')
        retries = int(flags["retries"])
        if retries < 0:
            raise ValueError(f"--retries cannot be negative ({retries})")
        if retries:
            health["Retries"] = retries
    return Healthcheck(**_common(node), health=health)


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def duration(text: str) -> int:
    """Nanoseconds of a Go duration (`1m30s`, `500ms`). Raises ValueError."""
    body = text.lstrip("+-")
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", body)
    if body == "0":
        return 0
    if not parts or "".join(number + unit for number, unit in parts) != body:
        if re.fullmatch(r"\d+(\.\d+)?", body):
            raise ValueError(f'time: missing unit in duration "{text}"')
        raise ValueError(f'time: invalid duration "{text}"')
    total = sum(int(float(number) * _UNITS[unit]) for number, unit in parts)
    return -total if text.startswith("-") else total


def _onbuild(node: Node) -> Instruction:
    _at_least_one(node)
    child = node.child
    assert child is not None
    if child.keyword == "ONBUILD":
        raise ValueError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if child.keyword in ("MAINTAINER", "FROM"):
        raise ValueError(f"{child.keyword} isn't allowed as an ONBUILD trigger")
    trigger = re.sub(r"(?i)^\s*ONBUILD\s*", "", node.original)
    for heredoc in node.heredocs:
        trigger += f"\n{heredoc.content}{heredoc.name}"
    return Onbuild(**_common(node), trigger=trigger)


_MAKERS = {
    "ENV": _key_value, "LABEL": _key_value, "ARG": _arg, "COPY": _copy, "ADD": _copy, "RUN": _run, "CMD": _command,
    "ENTRYPOINT": _command, "EXPOSE": _words, "VOLUME": _words, "WORKDIR": _one_word, "USER": _one_word,
    "STOPSIGNAL": _one_word, "MAINTAINER": _one_word, "SHELL": _shell, "HEALTHCHECK": _healthcheck,
    "ONBUILD": _onbuild,
}  # fmt: skip
