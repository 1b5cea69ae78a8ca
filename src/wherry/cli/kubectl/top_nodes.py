"""`kubectl top nodes`."""

from wherry.cli.kubectl import metrics, table
from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import SELECTOR, Session

HELP = "Display resource (CPU/memory) usage of nodes."
USAGE = "[NAME | -l label]"
FLAGS = (
    SELECTOR,
    Flag("no-headers", "", "bool", False, "Do not print headers."),
    Flag("show-capacity", "", "bool", False, "Percent of the capacity instead of what is allocatable."),
    Flag("sort-by", "", "str", "", "Sort by cpu or memory."),
    Flag("use-protocol-buffers", "", "bool", True, "Accepted for compatibility."),
)


def run(session: Session) -> int:
    options = session.options
    if len(options.arguments) > 1:
        raise UsageError(f"[{' '.join(options.arguments)}]")
    if options["sort-by"] not in ("", "cpu", "memory"):
        raise KubectlError("--sort-by accepts only cpu or memory")
    if options.arguments:
        name = options.arguments[0]
        measured = [metrics.get(session, f"/nodes/{name}")]
        nodes = [session.http.get(f"/api/v1/nodes/{name}")]
    else:
        query = {"labelSelector": options["selector"]} if options["selector"] else {}
        measured = metrics.get(session, "/nodes", query).get("items") or []
        nodes = session.http.get("/api/v1/nodes", query).get("items") or []
    if not measured:
        raise KubectlError("metrics not available yet")
    if options["sort-by"] == "cpu":
        measured.sort(key=lambda one: -metrics.milli_cpu(one["usage"]))
    elif options["sort-by"] == "memory":
        measured.sort(key=lambda one: -metrics.bytes_of(one["usage"]))
    else:
        measured.sort(key=lambda one: str(one["metadata"]["name"]))
    field = "capacity" if options["show-capacity"] else "allocatable"
    whole = {node["metadata"]["name"]: (node.get("status") or {}).get(field) or {} for node in nodes}
    rows = [] if options["no-headers"] else [["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)", ""]]
    for one in measured:
        name, usage = one["metadata"]["name"], one["usage"]
        total = whole.pop(name, {})
        cpu, memory = metrics.milli_cpu(usage), metrics.bytes_of(usage)
        all_cpu, all_memory = metrics.milli_cpu(total), metrics.bytes_of(total)
        rows.append(
            [
                name,
                f"{cpu}m",
                f"{cpu * 100 // all_cpu if all_cpu else 0}%",
                metrics.mebibytes(memory),
                f"{memory * 100 // all_memory if all_memory else 0}%",
                "",
            ]
        )
    rows += [[name, "<unknown>", "<unknown>", "<unknown>", "<unknown>", ""] for name in whole]
    table.write(rows)
    return 0
