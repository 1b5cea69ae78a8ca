"""The texts of --help."""

from typing import Any

from wherry.cli.kubectl.flags import GLOBAL, Flag


def overview(groups: dict[str, dict[str, tuple[str, str]]]) -> str:
    lines = ["kubectl controls the Kubernetes cluster manager.", ""]
    for heading, verbs in groups.items():
        shown = {name: row for name, row in verbs.items() if row[0] != "refused"}
        lines.append(f"{heading}:")
        lines += [f"  {name:<15} {row[1]}" for name, row in shown.items()]
        lines.append("")
    lines += [
        "Usage:",
        "  kubectl [flags] [options]",
        "",
        'Use "kubectl <command> --help" for more information about a given command.',
        'Use "kubectl options" for a list of global command-line options (applies to all commands).',
    ]
    return "\n".join(lines)


def global_options() -> str:
    return (
        "The following options can be passed to any command:\n\n" + "\n\n".join(_flag(flag) for flag in GLOBAL) + "\n"
    )


def _flag(flag: Flag) -> str:
    default = flag.default
    if flag.kind in ("list", "array"):
        shown = "[]" if not default else "[" + ",".join(default) + "]"
    elif flag.kind == "bool":
        shown = "true" if default else "false"
    elif flag.kind == "int":
        shown = str(default)
    elif flag.kind == "duration":
        from wherry.cli.kubectl.times import go_duration

        shown = go_duration(float(default))
    else:
        shown = f"'{default}'"
    short = f"-{flag.short}, " if flag.short else ""
    return f"    {short}--{flag.name}={shown}:\n\t{flag.help}"


def verb_help(module: Any, command: str) -> str:
    text = (module.HELP or module.__doc__ or "").strip()
    lines = [text, ""]
    if getattr(module, "EXAMPLES", ""):
        lines += ["Examples:"]
        lines += ["  " + line if line else "" for line in module.EXAMPLES.strip("\n").split("\n")]
        lines.append("")
    if module.FLAGS:
        lines.append("Options:")
        lines.append("\n\n".join(_flag(flag) for flag in sorted(module.FLAGS, key=lambda flag: flag.name)))
        lines.append("")
    lines += [
        "Usage:",
        f"  {command} {module.USAGE}".rstrip() + " [options]",
        "",
        'Use "kubectl options" for a list of global command-line options (applies to all commands).',
    ]
    return "\n".join(lines)


def group_help(module: Any, command: str, group: dict[str, tuple[str, str]]) -> str:
    width = max(len(name) for name in group) + 2
    lines = [(module.HELP or "").strip(), "", "Available Commands:"]
    lines += [f"  {name:<{width}} {row[1]}" for name, row in group.items()]
    lines += [
        "",
        "Usage:",
        f"  {command} SUBCOMMAND [options]",
        "",
        f'Use "{command} <command> --help" for more information about a given command.',
        'Use "kubectl options" for a list of global command-line options (applies to all commands).',
    ]
    return "\n".join(lines)
