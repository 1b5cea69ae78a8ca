"""What containers print: their logs, followed over restarts, and their output while they run."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from wherry.compose import names
from wherry.compose.log_printer import LogPrinter
from wherry.compose.steps import name_of, number_of
from wherry.docker_api.client import DockerClient, DockerError, Response

_GONE = (OSError, ValueError, DockerError)
"""What reading a stream raises when its container or the daemon goes away in the middle."""


def short_name(container: dict[str, Any], project: str, separator: str = "-") -> str:
    """`web-1` for `shop-web-1`; the whole name where it was given by hand."""
    name, service = name_of(container), container["Labels"].get(names.SERVICE, "")
    number = number_of(container)
    for mark in (separator, "-", "_"):
        if name == mark.join((project, service, str(number))):
            return f"{service}{mark}{number}"
    return name


def print_logs(client: DockerClient, container: str, name: str, printer: LogPrinter, query: dict[str, Any]) -> None:
    """GET /containers/ID/logs onto the printer; ends with the log, or when the container stops."""
    tty = client.get(f"/containers/{container}/json")["Config"]["Tty"]
    response = client.call("GET", f"/containers/{container}/logs", {"stdout": True, "stderr": True, **query})
    _drain(response, name, printer, tty=tty)


def _drain(response: Response, name: str, printer: LogPrinter, *, tty: bool) -> None:
    if tty:
        for chunk in response.chunks():
            printer.feed(name, 1, chunk)
    else:
        for stream, data in response.frames():
            printer.feed(name, stream, data)
    printer.end(name)


class Follower:
    """Follows the output of a project's containers, those that come later too, each in a thread of its own."""

    def __init__(self, client: DockerClient, project: str, printer: LogPrinter, query: dict[str, Any]) -> None:
        self.client = client
        self.project = project
        self.printer = printer
        self.query = query
        self.threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def attach(self, container: str, name: str) -> None:
        """Prints what a container says from now on, even before it starts: nothing of its output is lost."""
        with self._lock:
            if (thread := self.threads.get(container)) and thread.is_alive():
                return
            self.printer.register([name])
            query = {"stream": True, "stdout": True, "stderr": True}
            stream = self.client.hijack(f"/containers/{container}/attach", query)
            self._thread(container, lambda: self._pump(stream, name))

    def follow(self, container: str, name: str, **query: Any) -> None:
        """Prints a container's log and what is added to it."""
        with self._lock:
            if (thread := self.threads.get(container)) and thread.is_alive():
                return
            self.printer.register([name])
            whole = {**self.query, "follow": True, **query}
            self._thread(container, lambda: print_logs(self.client, container, name, self.printer, whole))

    def _thread(self, container: str, run: Callable[[], None]) -> None:
        def guarded() -> None:
            with contextlib.suppress(*_GONE):
                run()

        thread = threading.Thread(target=guarded, daemon=True)
        self.threads[container] = thread
        thread.start()

    def _pump(self, stream: Any, name: str) -> None:
        pending = b""
        while data := stream.read():
            if not stream.multiplexed:
                self.printer.feed(name, 1, data)
                continue
            pending += data
            while len(pending) >= 8 and len(pending) >= 8 + int.from_bytes(pending[4:8], "big"):
                size = int.from_bytes(pending[4:8], "big")
                self.printer.feed(name, pending[0], pending[8 : 8 + size])
                pending = pending[8 + size :]
        self.printer.end(name)

    def events(self) -> Iterator[dict[str, Any]]:
        """Starts and ends of the project's containers, as the daemon tells them."""
        filters = {
            "type": ["container"],
            "event": ["start", "die", "destroy"],
            "label": [f"{names.PROJECT}={self.project}"],
        }
        yield from self.client.call("GET", "/events", {"filters": filters}).json_lines()

    def finish(self, container: str, timeout: float = 5.0) -> None:
        """Waits until all that an ended container has said is printed."""
        thread = self.threads.get(container)
        if thread is not None:
            thread.join(timeout)


def moment(event: dict[str, Any]) -> str:
    """When an event was, as a log's `since`: to the nanosecond, so that nothing is told twice or lost."""
    seconds, nanoseconds = divmod(int(event["timeNano"]), 10**9)
    return f"{seconds}.{nanoseconds:09d}"


def event_container(event: dict[str, Any]) -> dict[str, Any]:
    """The container of an event in the shape of GET /containers/json, as far as names go."""
    attributes = event["Actor"]["Attributes"]
    return {"Id": event["Actor"]["ID"], "Names": ["/" + attributes.get("name", "")], "Labels": attributes}
