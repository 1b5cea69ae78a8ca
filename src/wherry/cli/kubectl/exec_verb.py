"""`kubectl exec`."""

import sys
from typing import Any

from wherry.cli.kubectl import remote
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.pods import container_of, one_pod
from wherry.cli.kubectl.session import FILES, Session

HELP = "Execute a command in a container."
EXAMPLES = """
kubectl exec mypod -- date
kubectl exec mypod -c ruby-container -it -- bash
kubectl exec deploy/mydeployment -- date
"""
USAGE = "(POD | TYPE/NAME) [-c CONTAINER] [flags] -- COMMAND [args...]"
FLAGS = (
    *FILES[:1],
    Flag("container", "c", "str", "", "Container name; the pod's default, or its first, when left out."),
    Flag("pod-running-timeout", "", "duration", 60.0, "How long to wait for a pod of a workload."),
    Flag("quiet", "q", "bool", False, "Print only what the command prints."),
    Flag("stdin", "i", "bool", False, "Pass stdin to the container."),
    Flag("tty", "t", "bool", False, "Stdin is a terminal."),
)


def run(session: Session) -> int:
    options = session.options
    arguments = options.arguments
    if not arguments or (options.dash_at == 0 and not options["filename"]):
        raise KubectlError("pod, type/name or --filename must be specified")
    if options.dash_at < 0 and len(arguments) > 1:
        raise KubectlError(
            "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead"
            + "\nSee 'kubectl exec -h' for help and examples"
        )
    command = arguments[1:]
    if not command:
        raise KubectlError("you must specify at least one command for the container")
    pod = one_pod(session, arguments[0])
    return execute(
        session,
        pod.namespace,
        pod.object,
        options["container"],
        command,
        stdin=options["stdin"],
        tty=options["tty"],
        quiet=options["quiet"],
    )


def execute(
    session: Session,
    namespace: str,
    pod: Any,
    container: str,
    command: list[str],
    *,
    stdin: bool,
    tty: bool,
    quiet: bool,
) -> int:
    """Run a command with our own streams."""
    name = pod["metadata"]["name"]
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        raise KubectlError(
            f"cannot exec into a container in a completed pod; current phase is {pod['status']['phase']}"
        )
    container = container_of(session, pod, container, tell=not quiet)
    if tty and not stdin:
        tty = True
    if tty and not sys.stdin.isatty():
        session.say("Unable to use a TTY - input is not a terminal or the right kind of file")
    query: dict[str, Any] = {"command": command, "container": container, "stdout": "true"}
    if stdin:
        query["stdin"] = "true"
    if tty:
        query["tty"] = "true"
    else:
        query["stderr"] = "true"
    path = session.find("pods").path(namespace, name, "exec")
    ws = remote.open_streams(session, path, query)
    code = remote.run(
        ws,
        stdin=sys.stdin.buffer if stdin else None,
        stdout=remote.write_stdout,
        stderr=remote.write_stderr,
        tty=tty and sys.stdin.isatty(),
    )
    return remote.exit_with(code)
