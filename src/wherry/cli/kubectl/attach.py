"""`kubectl attach`."""

import sys
from typing import Any

from wherry.cli.kubectl import remote
from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.pods import container_of, one_pod
from wherry.cli.kubectl.session import Session

HELP = "Attach to a process that is already running inside an existing container."
EXAMPLES = """
kubectl attach mypod
kubectl attach mypod -c ruby-container -i -t
"""
USAGE = "(POD | TYPE/NAME) -c CONTAINER"
FLAGS = (
    Flag("container", "c", "str", "", "Container name; the pod's default, or its first, when left out."),
    Flag("pod-running-timeout", "", "duration", 60.0, "How long to wait for a pod of a workload."),
    Flag("quiet", "q", "bool", False, "Print only what the container prints."),
    Flag("stdin", "i", "bool", False, "Pass stdin to the container."),
    Flag("tty", "t", "bool", False, "Stdin is a terminal."),
)


def run(session: Session) -> int:
    options = session.options
    if not options.arguments:
        raise UsageError("at least 1 argument is required for attach")
    if len(options.arguments) > 2:
        raise UsageError(
            f"expected POD, TYPE/NAME, or TYPE NAME, (at most 2 arguments) saw {len(options.arguments)}: "
            f"[{' '.join(options.arguments)}]"
        )
    word = "/".join(options.arguments)
    pod = one_pod(session, word)
    return attach(
        session,
        pod.namespace,
        pod.object,
        options["container"],
        stdin=options["stdin"],
        tty=options["tty"],
        quiet=options["quiet"],
    )


def attach(session: Session, namespace: str, pod: Any, container: str, *, stdin: bool, tty: bool, quiet: bool) -> int:
    """Connect our streams with the container's first process until it ends."""
    name = pod["metadata"]["name"]
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        raise KubectlError(f"cannot attach a container in a completed pod; current phase is {pod['status']['phase']}")
    container = container_of(session, pod, container, tell=not quiet)
    spec = next(c for c in pod["spec"]["containers"] if c["name"] == container)
    if tty and not spec.get("tty"):
        tty = False
        if not quiet:
            session.say(f"error: Unable to use a TTY - container {container} did not allocate one")
    elif not tty and spec.get("tty"):
        tty = True
    query: dict[str, Any] = {"container": container, "stdout": "true"}
    if stdin:
        query["stdin"] = "true"
    if tty:
        query["tty"] = "true"
    else:
        query["stderr"] = "true"
    ws = remote.open_streams(session, session.find("pods").path(namespace, name, "attach"), query)
    if not quiet and stdin:
        session.say("If you don't see a command prompt, try pressing enter.")
    code = remote.run(
        ws,
        stdin=sys.stdin.buffer if stdin else None,
        stdout=remote.write_stdout,
        stderr=remote.write_stderr,
        tty=tty and stdin and sys.stdin.isatty(),
    )
    if not quiet and stdin and tty and spec.get("stdin"):
        print(
            f"Session ended, resume using 'kubectl attach {name} -c {container} -i -t' command when the pod is running"
        )
    return remote.exit_with(code)
