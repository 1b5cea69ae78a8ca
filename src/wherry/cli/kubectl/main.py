"""`kubectl`: finds the verb, reads its flags, runs it, and turns what goes wrong into a message and an exit code."""

import os
import sys
from typing import Any

from wherry.cli.kubectl.errors import CannotConnect, KubectlError, ServerError, UsageError
from wherry.cli.kubectl.flags import Options, parse

_PACKAGE = "wherry.cli.kubectl"

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Basic Commands (Beginner)": {
        "create": ("create", "Create a resource from a file or from stdin"),
        "expose": ("expose", "Expose a service, deployment, replica set or pod as a new service"),
        "run": ("run", "Run a particular image on the cluster"),
        "set": ("set_group", "Set specific features on objects"),
    },
    "Basic Commands (Intermediate)": {
        "explain": ("explain", "Get documentation for a resource"),
        "get": ("get", "Display one or many resources"),
        "edit": ("edit", "Edit a resource on the server"),
        "delete": ("delete", "Delete resources by file names, stdin, names, or label selector"),
    },
    "Deploy Commands": {
        "rollout": ("rollout", "Manage the rollout of a resource"),
        "scale": ("scale", "Set a new size for a deployment, replica set or stateful set"),
        "autoscale": ("autoscale", "Scale a deployment, replica set or stateful set by its load"),
    },
    "Cluster Management Commands": {
        "certificate": ("refused", "Not supported"),
        "cluster-info": ("cluster_info", "Display cluster information"),
        "top": ("top", "Display resource (CPU/memory) usage"),
        "cordon": ("cordon", "Mark node as unschedulable"),
        "uncordon": ("uncordon", "Mark node as schedulable"),
        "drain": ("drain", "Drain node in preparation for maintenance"),
        "taint": ("taint", "Update the taints on one or more nodes"),
    },
    "Troubleshooting and Debugging Commands": {
        "describe": ("describe", "Show details of a specific resource or group of resources"),
        "logs": ("logs", "Print the logs for a container in a pod"),
        "attach": ("attach", "Attach to a running container"),
        "exec": ("exec_verb", "Execute a command in a container"),
        "port-forward": ("port_forward", "Forward one or more local ports to a pod"),
        "proxy": ("refused", "Not supported"),
        "cp": ("cp", "Copy files and directories to and from containers"),
        "auth": ("auth", "Inspect authorization"),
        "debug": ("refused", "Not supported"),
        "events": ("events", "List events"),
    },
    "Advanced Commands": {
        "diff": ("diff", "Diff the live version against a would-be applied version"),
        "apply": ("apply", "Apply a configuration to a resource by file name or stdin"),
        "patch": ("patch", "Update fields of a resource"),
        "replace": ("replace", "Replace a resource by file name or stdin"),
        "wait": ("wait", "Wait for a specific condition on one or many resources"),
        "kustomize": ("refused", "Not supported"),
    },
    "Settings Commands": {
        "label": ("label", "Update the labels on a resource"),
        "annotate": ("annotate", "Update the annotations on a resource"),
        "completion": ("completion", "Output shell completion code (bash, zsh or fish)"),
    },
    "Other Commands": {
        "api-resources": ("api_resources", "Print the supported API resources on the server"),
        "api-versions": ("api_versions", 'Print the supported API versions, in the form of "group/version"'),
        "config": ("config", "Modify kubeconfig files"),
        "version": ("version", "Print the client and server version information"),
    },
}
VERBS: dict[str, tuple[str, str]] = {name: row for group in GROUPS.values() for name, row in group.items()}


def load(module: str) -> Any:
    import importlib

    return importlib.import_module(f"{_PACKAGE}.{module}")


def main(arguments: list[str] | None = None) -> int:
    """Run kubectl with `arguments` (default: the process's). Returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except ServerError as error:
        if error.status == 404 and not (error.body.get("details") or {}).get("name"):
            _forget(words)
        return _say(error)
    except CannotConnect as error:
        code = _say(error)
        if hint := _hint(words):
            print(hint, file=sys.stderr)
        return code
    except KubectlError as error:
        return _say(error)
    except BrokenPipeError:
        # Nobody reads us any more; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _say(error: KubectlError) -> int:
    sys.stdout.flush()
    text = error.lines()
    if text:
        print(text, file=sys.stderr)
    return error.code


def _hint(words: list[str]) -> str:
    """What to do when the server does not answer, where it is this machine's own."""
    from wherry.cli import hints
    from wherry.cli.kubectl.kubeconfig import files

    if any(word.startswith(("--server", "-s", "--kubeconfig")) for word in words):
        return ""
    return hints.cluster(files(parse([], ())))


def _forget(words: list[str]) -> None:
    """A path that the server does not know: what discovery said is out of date."""
    from wherry.cli.kubectl.session import Session

    try:
        session = Session(parse([], ()), "kubectl")
        session.discovery.forget()
    except KubectlError:
        return


def _run(words: list[str]) -> int:
    verb, before, after = _split(words)
    if verb is None or (verb in ("help",) and not after):
        from wherry.cli.kubectl.usage import overview

        parse(before, ())
        print(overview(GROUPS))
        return 0
    if verb == "help":
        return _run([*after, "--help"])
    if verb == "options":
        from wherry.cli.kubectl.usage import global_options

        print(global_options())
        return 0
    if verb not in VERBS:
        raise KubectlError(unknown(verb, "kubectl", list(VERBS)), prefix="Error: ")
    return _verb(VERBS[verb][0], f"kubectl {verb}", before, after)


def _verb(module_name: str, command: str, before: list[str], after: list[str]) -> int:
    try:
        return _module_verb(load(module_name), command, before, after)
    except UsageError as error:
        raise KubectlError(error.about(command), prefix="") from error


def _module_verb(module: Any, command: str, before: list[str], after: list[str]) -> int:
    group: dict[str, tuple[str, str]] | None = getattr(module, "VERBS", None)
    if group is not None:
        name, first, rest = _split(after)
        if name in group:
            assert name is not None
            return _verb(group[name][0], f"{command} {name}", [*before, *first], rest)
        if not hasattr(module, "run") or "--help" in after or "-h" in after:
            from wherry.cli.kubectl.usage import group_help

            if name is not None and name not in group and not hasattr(module, "run"):
                raise UsageError(f'unknown command "{name}"')
            print(group_help(module, command, group))
            return 0 if "--help" in after or "-h" in after else 1
    from wherry.cli.kubectl.session import Session

    options: Options = parse([*before, *after], module.FLAGS)
    session = Session(options, command)
    if options["help"]:
        from wherry.cli.kubectl.usage import verb_help

        print(verb_help(module, command))
        return 0
    if hasattr(module, "for_command"):
        module = module.for_command(command)
    if "dry-run" in options.changed:
        session.dry_run  # noqa: B018 - a wrong value is told before anything is done
    return int(module.run(session) or 0)


def _split(words: list[str]) -> tuple[str | None, list[str], list[str]]:
    """The first word that is no flag, with the flags before it and all that comes after it."""
    from wherry.cli.kubectl.flags import GLOBAL

    wants_value = {f"--{flag.name}" for flag in GLOBAL if flag.kind != "bool"}
    wants_value |= {f"-{flag.short}" for flag in GLOBAL if flag.short and flag.kind != "bool"}
    wants_value |= {"-f", "--filename", "-o", "--output", "-l", "--selector"}
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("-") or word == "-":
            return word, words[:position], words[position + 1 :]
        position += 2 if word in wants_value else 1
    return None, words, []


def unknown(word: str, command: str, known: list[str]) -> str:
    """The message for a command that does not exist, with what it may have meant."""
    import difflib

    close = [name for name in known if name.startswith(word)] or difflib.get_close_matches(word, known, 3, 0.6)
    text = f'unknown command "{word}" for "{command}"'
    if close:
        text += "\n\nDid you mean this?\n" + "".join(f"\t{name}\n" for name in close)
    return text


def program() -> None:
    """The program `kubectl`."""
    sys.exit(main())


if __name__ == "__main__":
    program()
