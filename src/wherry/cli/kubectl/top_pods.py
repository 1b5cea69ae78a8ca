"""`kubectl top pods`."""

from typing import Any

from wherry.cli.kubectl import metrics, table
from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import ALL_NAMESPACES, FIELD_SELECTOR, SELECTOR, Session

HELP = "Display resource (CPU/memory) usage of pods."
USAGE = "[NAME | -l label]"
FLAGS = (
    SELECTOR,
    FIELD_SELECTOR,
    ALL_NAMESPACES,
    Flag("containers", "", "bool", False, "The usage of each container."),
    Flag("no-headers", "", "bool", False, "Do not print headers."),
    Flag("sort-by", "", "str", "", "Sort by cpu or memory."),
    Flag("sum", "", "bool", False, "Print the sum of all pods."),
    Flag("use-protocol-buffers", "", "bool", True, "Accepted for compatibility."),
)


def _total(pod: Any) -> tuple[int, int]:
    containers = pod.get("containers") or ()
    return sum(metrics.milli_cpu(c["usage"]) for c in containers), sum(metrics.bytes_of(c["usage"]) for c in containers)


def run(session: Session) -> int:
    options = session.options
    if len(options.arguments) > 1:
        raise UsageError(f"[{' '.join(options.arguments)}]")
    if options.arguments and (options["selector"] or options["field-selector"]):
        raise KubectlError("only one of NAME or selector can be provided")
    if options["sort-by"] not in ("", "cpu", "memory"):
        raise KubectlError("--sort-by accepts only cpu or memory")
    every = options["all-namespaces"]
    base = "" if every else f"/namespaces/{session.namespace}"
    if options.arguments:
        pods = [metrics.get(session, f"{base}/pods/{options.arguments[0]}")]
    else:
        flags = (("labelSelector", "selector"), ("fieldSelector", "field-selector"))
        query = {key: options[flag] for key, flag in flags if options[flag]}
        pods = metrics.get(session, f"{base}/pods", query).get("items") or []
    if not pods:
        where = "" if every else f" in {session.namespace} namespace."
        session.say(f"No resources found{where}")
        return 0
    if options["sort-by"]:
        pods.sort(key=lambda pod: -_total(pod)[0 if options["sort-by"] == "cpu" else 1])
    else:
        pods.sort(key=lambda pod: (pod["metadata"].get("namespace", ""), pod["metadata"]["name"]))
    rows: list[list[str]] = []
    if not options["no-headers"]:
        head = ["NAMESPACE"] if every else []
        head += ["POD", "NAME"] if options["containers"] else ["NAME"]
        rows.append([*head, "CPU(cores)", "MEMORY(bytes)", ""])
    for pod in pods:
        meta = pod["metadata"]
        first = ([meta.get("namespace", "")] if every else []) + [meta["name"]]
        if options["containers"]:
            for one in sorted(pod.get("containers") or (), key=lambda c: str(c["name"])):
                cpu, memory = metrics.milli_cpu(one["usage"]), metrics.bytes_of(one["usage"])
                rows.append([*first, one["name"], f"{cpu}m", metrics.mebibytes(memory), ""])
        else:
            cpu, memory = _total(pod)
            rows.append([*first, f"{cpu}m", metrics.mebibytes(memory), ""])
    if options["sum"]:
        blank = [""] * (len(rows[-1]) - 3)
        rows.append([*blank, "________", "________", ""])
        cpu, memory = (sum(_total(pod)[index] for pod in pods) for index in (0, 1))
        rows.append([*blank, f"{cpu}m", metrics.mebibytes(memory), ""])
    table.write(rows)
    return 0
