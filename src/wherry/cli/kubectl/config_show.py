"""`kubectl config current-context`, `get-contexts`, `get-clusters`, `get-users`."""

from wherry.cli.kubectl import table
from wherry.cli.kubectl.errors import KubectlError, UsageError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.kubeconfig import load
from wherry.cli.kubectl.session import Session

HELP = "Show what the kubeconfig holds."
USAGE = "[NAME]"
FLAGS = (
    Flag("no-headers", "", "bool", False, "Do not print headers."),
    Flag("output", "o", "str", "", "Output format: name."),
)


def run(session: Session) -> int:
    options = session.options
    config = load(options)
    verb = session.command.split()[-1]
    if verb == "current-context":
        if not config["current-context"]:
            raise KubectlError("current-context is not set")
        print(config["current-context"])
        return 0
    if verb in ("get-clusters", "get-users"):
        print("NAME")
        for name in sorted(config[verb[4:]]):
            print(name)
        return 0
    if options["output"] not in ("", "name"):
        raise UsageError(f"output must be one of '' or 'name': {options['output']}")
    errors: list[KubectlError] = []
    names = options.arguments or sorted(config["contexts"])
    rows = (
        [] if options["no-headers"] or options["output"] else [["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"]]
    )
    for name in names:
        context = config["contexts"].get(name)
        if context is None:
            errors.append(KubectlError(f"context {name} not found"))
            continue
        if options["output"]:
            print(name)
            continue
        mark = "*" if name == config["current-context"] else ""
        rows.append(
            [mark, name, context.get("cluster") or "", context.get("user") or "", context.get("namespace") or ""]
        )
    table.write(rows)
    raise_all(errors)
    return 0
