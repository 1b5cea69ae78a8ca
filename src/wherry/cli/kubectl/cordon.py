"""`kubectl cordon` and `kubectl uncordon`."""

from wherry.cli.kubectl.errors import KubectlError, UsageError, raise_all
from wherry.cli.kubectl.http import STRATEGIC_PATCH
from wherry.cli.kubectl.selection import Found, Target, fetch
from wherry.cli.kubectl.session import DRY_RUN, SELECTOR, Session

HELP = "Mark nodes as unschedulable (cordon) or schedulable (uncordon)."
USAGE = "NODE"
FLAGS = (DRY_RUN, SELECTOR)


def run(session: Session) -> int:
    verb = session.command.split()[-1]
    errors: list[KubectlError] = []
    for node in nodes(session, verb, errors):
        try:
            cordon(session, node, verb == "cordon")
        except KubectlError as error:
            errors.append(error)
    raise_all(errors)
    return 0


def nodes(session: Session, verb: str, errors: list[KubectlError]) -> list[Found]:
    """The nodes of the arguments or of -l."""
    options = session.options
    if not options.arguments and not options["selector"]:
        raise UsageError(f"USAGE: {verb} NODE [flags]")
    if options.arguments and options["selector"]:
        raise UsageError("error: cannot specify both a node name and a --selector option")
    resource = session.find("nodes")
    names = [
        word.partition("/")[2] if word.startswith(("node/", "nodes/", "no/")) else word for word in options.arguments
    ]
    targets = [Target(resource, "", name) for name in names] or [Target(resource, "", "")]
    return fetch(session, targets, errors=errors)


def cordon(session: Session, node: Found, wanted: bool) -> None:
    done = "cordoned" if wanted else "uncordoned"
    if bool((node.object.get("spec") or {}).get("unschedulable")) == wanted:
        session.done(node.resource, node.name, f"already {done}", node.object, dry="none")
        return
    if session.dry_run != "client":
        query = {"dryRun": "All"} if session.dry_run == "server" else {}
        patch = {"spec": {"unschedulable": True if wanted else None}}
        session.http.request("PATCH", node.path, query, patch, content_type=STRATEGIC_PATCH)
    session.done(node.resource, node.name, done, node.object)
