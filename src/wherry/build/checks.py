"""Build checks: what a Dockerfile says that is allowed and seldom meant, with the line.

The rules, their names and their words are those of Docker's build checks (docs.docker.com, "Build checks"). The
`check` directive turns rules off or makes them errors: `# check=skip=JSONArgsRecommended,StageNameCasing;error=true`.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from . import graph
from .errors import DockerfileError
from .ignore import Patterns
from .instructions import Arg, Command, Copy, Dockerfile, Instruction, KeyValue, Words
from .parser import Node
from .shellwords import SubstitutionError, process
from .state import PREDEFINED_ARGS

_SECRET = re.compile(
    r"(?:^|_)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NOT_SECRET = re.compile(r"(?:^|_)public(?:_|$)", re.IGNORECASE)
_RESERVED = ("context", "scratch")
_SHELL_SET_BY_BASE = frozenset({"PATH", "HOME", "HOSTNAME", "TERM"})


@dataclass(frozen=True, order=True)
class Warning:
    """`line` is 1-based, 0 for the whole file."""

    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}" + (f" (line {self.line})" if self.line else "")

    def document(self) -> dict[str, Any]:
        """With the address of the rule's page, as `docker build --check` shows it."""
        page = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", self.rule).lower()
        return {
            "rule": self.rule,
            "url": f"https://docs.docker.com/go/dockerfile/rule/{page}/",
            "text": self.text,
            "line": self.line,
        }


def check(dockerfile: Dockerfile, ignore: Patterns | None = None) -> list[Warning]:
    """What there is to say, by line. `ignore` is the context's `.dockerignore`.

    Raises DockerfileError when the file's own `check` directive wants errors.
    """
    skipped, fatal = _directive(dockerfile.parsed.directives.get("check", ""))
    if "all" in skipped:
        return []
    found: set[Warning] = set()
    for rule in _RULES:
        found.update(rule(dockerfile))
    if ignore is not None:
        found.update(_copy_ignored(dockerfile, ignore))
    kept = sorted(warning for warning in found if warning.rule.lower() not in skipped)
    if kept and fatal:
        names = ", ".join(sorted({warning.rule for warning in kept}))
        raise DockerfileError(f"lint violation found for rules: {names}", kept[0].line)
    return kept


def _directive(text: str) -> tuple[set[str], bool]:
    skipped: set[str] = set()
    fatal = False
    for part in text.split(";"):
        key, _, value = part.strip().partition("=")
        if key == "skip":
            skipped = {name.strip().lower() for name in value.split(",")}
        elif key == "error":
            fatal = value.strip().lower() in ("true", "1")
        elif key:
            raise DockerfileError(f'invalid check option "{key}"')
    return skipped, fatal


def _nodes(dockerfile: Dockerfile) -> list[Node]:
    return dockerfile.parsed.nodes


def _casing(dockerfile: Dockerfile) -> Iterator[Warning]:
    names = [node.name for node in _nodes(dockerfile)]
    upper, lower = sum(map(str.isupper, names)), sum(map(str.islower, names))
    majority = "lowercase" if lower > upper else "uppercase"
    for node in _nodes(dockerfile):
        if not (node.name.islower() if majority == "lowercase" else node.name.isupper()):
            text = f"Command '{node.name}' should match the case of the command majority ({majority})"
            yield Warning(node.line, "ConsistentInstructionCasing", text)
        if node.keyword == "FROM" and len(node.args) == 3 and node.name.isupper() != node.args[1].isupper():
            text = f"'{node.args[1]}' and '{node.name}' keywords' casing do not match"
            yield Warning(node.line, "FromAsCasing", text)


def _continuations(dockerfile: Dockerfile) -> Iterator[Warning]:
    for line, _ in dockerfile.parsed.warnings:
        yield Warning(line, "NoEmptyContinuation", "Empty continuation line")


def _stage_names(dockerfile: Dockerfile) -> Iterator[Warning]:
    seen: set[str] = set()
    written = [node.args[2] for node in _nodes(dockerfile) if node.keyword == "FROM" and len(node.args) == 3]
    for stage in dockerfile.stages:
        if not stage.name:
            continue
        own = next((name for name in written if name.lower() == stage.name), stage.name)
        if own != own.lower():
            yield Warning(stage.line, "StageNameCasing", f"Stage name '{own}' should be lowercase")
        if stage.name in _RESERVED:
            text = f'Stage name should not use the same name as reserved stage "{stage.name}"'
            yield Warning(stage.line, "ReservedStageName", text)
        if stage.name in seen:
            text = f'Duplicate stage name "{stage.name}", stage names should be unique'
            yield Warning(stage.line, "DuplicateStageName", text)
        seen.add(stage.name)


def _instructions(dockerfile: Dockerfile) -> Iterator[Instruction]:
    for stage in dockerfile.stages:
        yield from stage.instructions


def _json_form(dockerfile: Dockerfile) -> Iterator[Warning]:
    for stage in dockerfile.stages:
        own_shell = any(step.keyword == "SHELL" for step in stage.instructions)
        for step in stage.instructions:
            if isinstance(step, Command) and step.keyword in ("CMD", "ENTRYPOINT") and step.shell and not own_shell:
                text = (
                    f"JSON arguments recommended for {step.keyword} "
                    "to prevent unintended behavior related to OS signals"
                )
                yield Warning(step.line, "JSONArgsRecommended", text)


def _only_the_last(dockerfile: Dockerfile) -> Iterator[Warning]:
    for stage in dockerfile.stages:
        for keyword in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
            for step in [step for step in stage.instructions if step.keyword == keyword][:-1]:
                text = (
                    f"Multiple {keyword} instructions should not be used in the same stage "
                    "because only the last one will be used"
                )
                yield Warning(step.line, "MultipleInstructionsDisallowed", text)


def _old_ways(dockerfile: Dockerfile) -> Iterator[Warning]:
    for step in _instructions(dockerfile):
        if step.keyword == "MAINTAINER":
            text = "Maintainer instruction is deprecated in favor of using label"
            yield Warning(step.line, "MaintainerDeprecated", text)
        if isinstance(step, KeyValue) and any(old for _, _, old in step.pairs):
            text = f'"{step.keyword} key=value" should be used instead of legacy "{step.keyword} key value" format'
            yield Warning(step.line, "LegacyKeyValueFormat", text)


def _secrets(dockerfile: Dockerfile) -> Iterator[Warning]:
    steps = [*dockerfile.global_args, *_instructions(dockerfile)]
    for step in steps:
        names: list[str] = []
        if isinstance(step, Arg) or (isinstance(step, KeyValue) and step.keyword == "ENV"):
            names = [pair[0] for pair in step.pairs]
        for name in names:
            if _SECRET.search(name) and not _NOT_SECRET.search(name):
                text = f'Do not use ARG or ENV instructions for sensitive data ({step.keyword} "{name}")'
                yield Warning(step.line, "SecretsUsedInArgOrEnv", text)


def _workdirs(dockerfile: Dockerfile) -> Iterator[Warning]:
    for stage in dockerfile.stages:
        absolute = graph.earlier(dockerfile, stage.base, stage.index) is not None
        for step in stage.instructions:
            if step.keyword == "WORKDIR" and isinstance(step, Words):
                path = step.args[0]
                if posixpath.isabs(path) or path.startswith("$"):
                    absolute = True
                elif not absolute:
                    text = f'Relative workdir "{path}" can have unexpected results if the base image changes'
                    yield Warning(step.line, "WorkdirRelativePath", text)


def _exposed(dockerfile: Dockerfile) -> Iterator[Warning]:
    for step in _instructions(dockerfile):
        if step.keyword != "EXPOSE" or not isinstance(step, Words):
            continue
        for port in step.args:
            number, _, protocol = port.partition("/")
            if "$" not in protocol and protocol != protocol.lower():
                text = f"Defined protocol '{port}' in EXPOSE instruction should be lowercase"
                yield Warning(step.line, "ExposeProtoCasing", text)
            if ":" in number and "$" not in number:
                text = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
                yield Warning(step.line, "ExposeInvalidFormat", text)


def _platforms(dockerfile: Dockerfile) -> Iterator[Warning]:
    for stage in dockerfile.stages:
        platform = stage.platform
        if platform in ("$TARGETPLATFORM", "${TARGETPLATFORM}"):
            text = f"Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
            yield Warning(stage.line, "RedundantTargetPlatform", text)
        elif platform and "$" not in platform:
            text = f'FROM --platform flag should not use constant value "{platform}"'
            yield Warning(stage.line, "FromPlatformFlagConstDisallowed", text)


def _used(text: str, known: dict[str, str], escape: str) -> set[str]:
    """The variables that `text` names and that are not known."""
    try:
        return process(text, known, escape).unmatched
    except SubstitutionError:
        return set()


def _from_args(dockerfile: Dockerfile) -> Iterator[Warning]:
    declared = {name: default or "" for arg in dockerfile.global_args for name, default in arg.pairs}
    known = {**graph.platform_args(None), **declared}
    for stage in dockerfile.stages:
        for text in (stage.base, stage.platform):
            for name in sorted(_used(text, known, dockerfile.escape)):
                yield Warning(stage.line, "UndefinedArgInFrom", f"FROM argument '{name}' is not declared")
        try:
            base = process(stage.base, known, dockerfile.escape).text
        except SubstitutionError:
            continue
        if "$" in stage.base and (not base or base.endswith(":") or base.startswith(":")):
            text = f"Default value for ARG {stage.base} results in empty or invalid base image name"
            yield Warning(stage.line, "InvalidDefaultArgInFrom", text)


def _undefined(dockerfile: Dockerfile) -> Iterator[Warning]:
    for stage in dockerfile.stages:
        if not _is_scratch(dockerfile, stage.index):
            continue  # what the base image's environment holds is not known here
        known = dict.fromkeys((*_SHELL_SET_BY_BASE, *PREDEFINED_ARGS), "")
        for step in stage.instructions:
            for text in _expanded(step):
                for name in sorted(_used(text, known, dockerfile.escape)):
                    yield Warning(step.line, "UndefinedVar", f"Usage of undefined variable '${name}'")
            if isinstance(step, Arg) or (isinstance(step, KeyValue) and step.keyword == "ENV"):
                known |= {pair[0]: "" for pair in step.pairs}


def _is_scratch(dockerfile: Dockerfile, index: int) -> bool:
    return dockerfile.stages[index].base == "scratch"


def _expanded(step: Instruction) -> list[str]:
    """The texts of an instruction in which variables count."""
    if isinstance(step, KeyValue):
        return [value for _, value, _ in step.pairs]
    if isinstance(step, Arg):
        return [default for _, default in step.pairs if default is not None]
    if isinstance(step, Copy):
        return [*step.sources, step.destination, step.chown]
    if isinstance(step, Words) and step.keyword in ("EXPOSE", "USER", "VOLUME", "WORKDIR", "STOPSIGNAL"):
        return step.args
    return []


def _copy_ignored(dockerfile: Dockerfile, ignore: Patterns) -> Iterator[Warning]:
    for step in _instructions(dockerfile):
        if isinstance(step, Copy) and not step.source_stage:
            for source in step.sources:
                plain = posixpath.normpath(source).strip("/")
                if plain not in ("", ".") and not re.search(r"[*?\[$]|://", plain) and ignore.matches(plain):
                    text = f'Attempting to {step.keyword} file "{source}" that is excluded by .dockerignore'
                    yield Warning(step.line, "CopyIgnoredFile", text)


_RULES: tuple[Callable[[Dockerfile], Iterator[Warning]], ...] = (
    _casing, _continuations, _stage_names, _json_form, _only_the_last, _old_ways, _secrets, _workdirs, _platforms,
    _exposed, _from_args, _undefined,
)  # fmt: skip
