"""Help texts, made from the tables: of the program, of a group, of a command."""

from __future__ import annotations

import os
import textwrap

from wherry.cli.docker.commands import ALIASES, COMMON, GROUPS, SHORT, VERBS
from wherry.cli.docker.flags import LISTS, Flag, read_table
from wherry.cli.docker.program import GLOBAL_FLAGS

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from types import ModuleType


def program_help() -> str:
    """`docker --help`."""
    others = sorted((*SHORT, *(name for name in VERBS if " " not in name)))
    helps = {name: VERBS[SHORT.get(name, name)][1] for name in others}
    lines = ["Usage:  docker [OPTIONS] COMMAND", "", "Containers, images, networks and volumes of a Wherry engine", ""]
    lines += ["Common Commands:", *_rows([(name, helps[name]) for name in COMMON]), ""]
    lines += ["Management Commands:", *_rows(sorted(GROUPS.items())), ""]
    lines += ["Commands:", *_rows([(name, helps[name]) for name in others if name not in COMMON]), ""]
    lines += ["Global Options:", *flag_lines(list(read_table(GLOBAL_FLAGS, {}).values())), ""]
    lines += ["Run 'docker COMMAND --help' for more information on a command.", ""]
    return "\n".join(lines)


def group_help(group: str) -> str:
    """`docker container --help`."""
    verbs = {name.partition(" ")[2]: text for name, (_, text) in VERBS.items() if name.startswith(f"{group} ")}
    for alias, full in ALIASES.items():
        if alias.startswith(f"{group} ") and not full.startswith(f"{group} "):
            verbs[alias.partition(" ")[2]] = VERBS[full][1]
    lines = [f"Usage:  docker {group} COMMAND", "", GROUPS.get(group, GROUPS["builder"]), ""]
    lines += ["Commands:", *_rows(sorted(verbs.items())), ""]
    lines += [f"Run 'docker {group} COMMAND --help' for more information on a command.", ""]
    return "\n".join(lines)


def command_help(name: str, path: str, module: ModuleType) -> str:
    """`docker rm --help`."""
    usages = module.USAGE.split("\n")
    lines = [f"Usage:  {f'{path} {usages[0]}'.rstrip()}", *(f"        {path} {other}" for other in usages[1:]), ""]
    lines += [getattr(module, "LONG", VERBS[name][1]).strip(), ""]
    names = [f"docker {name}", *(f"docker {alias}" for alias, full in ALIASES.items() if full == name)]
    names += [f"docker {short}" for short, full in SHORT.items() if full == name]
    if len(names) > 1:
        lines += ["Aliases:", "  " + ", ".join(names), ""]
    flags = [*read_table(module.FLAGS, getattr(module, "TYPES", {})).values()]
    if flags:
        lines += ["Options:", *flag_lines(flags), ""]
    return "\n".join(lines)


def _rows(rows: list[tuple[str, str]]) -> list[str]:
    width = max(11, max(len(name) for name, _ in rows) + 1)
    return [f"  {name.ljust(width)} {text}" for name, text in rows]


def flag_lines(flags: list[Flag]) -> list[str]:
    """Flags by name, their texts wrapped behind them."""
    heads = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        short = f"-{flag.short}, " if flag.short else "    "
        kind = "" if flag.type == "bool" else f" {flag.type}"
        text = flag.text
        if flag.default not in ("", "false") and flag.type not in LISTS:
            quoted = f'"{flag.default}"' if flag.type == "string" else flag.default
            text += f" (default {quoted})"
        heads.append((f"  {short}--{flag.name}{kind}", text))
    width = max(len(head) for head, _ in heads) + 3
    total = max(width + 24, min(_columns(), 120))
    lines = []
    for head, text in heads:
        wrapped = textwrap.wrap(text, total - width) or [""]
        lines.append(head.ljust(width) + wrapped[0])
        lines.extend(" " * width + more for more in wrapped[1:])
    return [line.rstrip() for line in lines]


def _columns() -> int:
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return 80
