"""Verbs of kubectl that Wherry's does not have: refused by name."""

from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.session import Session

HELP = "This command is not supported."
USAGE = ""
FLAGS = ()

INSTEAD = {
    "certificate": "approve a request by patching its /approval subresource, or use another kubectl",
    "debug": "use `kubectl exec`, or run a pod beside it with `kubectl run`",
    "proxy": "use `kubectl get --raw`, or `kubectl port-forward`",
    "kustomize": "render the manifests with kustomize and pass them with -f",
    "plugin": "plugins are not looked up",
}


class Refusal:
    """Stands for the module of a refused verb."""

    FLAGS = ()

    def __init__(self, command: str) -> None:
        self.command = command

    def run(self, session: Session) -> int:
        name = self.command.split()[1]
        raise KubectlError(f"`kubectl {name}` is not supported by Wherry's kubectl: {INSTEAD.get(name, '')}")


def for_command(command: str) -> Refusal:
    return Refusal(command)
