"""`kubectl events`."""

from typing import Any

from wherry.cli.kubectl import table, times
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import ALL_NAMESPACES, PRINTING, Object, Session

HELP = "Display events."
EXAMPLES = """
kubectl events --for pod/web-pod-13je7 --watch
kubectl events --types=Warning,Normal
"""
USAGE = "[(-o|--output=)json|yaml] [--for TYPE/NAME] [--watch] [--types=Normal,Warning]"
FLAGS = (
    *PRINTING,
    ALL_NAMESPACES,
    Flag("chunk-size", "", "int", 500, "Fetch lists in chunks of this many objects."),
    Flag("for", "", "str", "", "Only events about this object, as TYPE/NAME."),
    Flag("no-headers", "", "bool", False, "Do not print headers."),
    Flag("types", "", "list", (), "Only events of these types: Normal, Warning."),
    Flag("watch", "w", "bool", False, "After listing the events, watch for more."),
)


def run(session: Session) -> int:
    options = session.options
    for word in options["types"]:
        if word.lower() not in ("normal", "warning"):
            raise KubectlError("valid --types are Normal or Warning")
    query: dict[str, Any] = {}
    if options["for"]:
        kind, slash, name = options["for"].partition("/")
        if not slash or not name:
            raise KubectlError("--for must be in resource/name form")
        resource = session.find(kind)
        query["fieldSelector"] = (
            f"involvedObject.kind={resource.kind},involvedObject.name={name},involvedObject.apiVersion={resource.api_version}"
        )
    path = "/api/v1/events" if options["all-namespaces"] else f"/api/v1/namespaces/{session.namespace}/events"
    listed = session.http.get(path, query)
    found = [{"apiVersion": "v1", "kind": "Event", **e} for e in listed.get("items") or () if _wanted(session, e)]
    found.sort(key=_last)
    if options["output"]:
        from wherry.cli.kubectl.output import print_object

        print_object(
            options, {"apiVersion": "v1", "kind": "EventList", "metadata": listed.get("metadata") or {}, "items": found}
        )
    elif not found and not options["watch"]:
        where = "" if options["all-namespaces"] else f" in {session.namespace} namespace."
        session.say(f"No events found{where}")
        return 0
    else:
        head = [] if options["no-headers"] else [_head(session)]
        table.write(head + [_row(session, event) for event in found])
    if options["watch"]:
        from wherry.cli.kubectl.watching import events

        query["resourceVersion"] = listed["metadata"].get("resourceVersion")
        for kind, event in events(session, path, query):
            if kind in ("ADDED", "MODIFIED") and _wanted(session, event):
                print(table.lines([_row(session, event)])[0], flush=True)
    return 0


def _wanted(session: Session, event: Object) -> bool:
    types = [word.lower() for word in session.options["types"]]
    return not types or str(event.get("type", "")).lower() in types


def _last(event: Object) -> float:
    series = event.get("series") or {}
    text = (
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event.get("firstTimestamp")
    )
    return times.parse_time(text) if text else 0.0


def _head(session: Session) -> list[str]:
    first = ["NAMESPACE"] if session.options["all-namespaces"] else []
    return [*first, "LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]


def _row(session: Session, event: Object) -> list[str]:
    first = event.get("firstTimestamp") or event.get("eventTime")
    series = event.get("series") or {}
    count = int(series.get("count") or event.get("count") or 0)
    last = series.get("lastObservedTime") or event.get("lastTimestamp")
    if count > 1 and last:
        seen = f"{times.age(last)} (x{count} over {times.age(first)})"
    else:
        seen = times.age(first)
    about = event.get("involvedObject") or {}
    line = [event.get("metadata", {}).get("namespace", "")] if session.options["all-namespaces"] else []
    message = str(event.get("message") or "").strip()
    return [
        *line,
        seen,
        event.get("type", ""),
        event.get("reason", ""),
        f"{about.get('kind')}/{about.get('name')}",
        message,
    ]
