"""`kubectl api-resources`."""

from wherry.cli.kubectl import table
from wherry.cli.kubectl.discovery import Resource
from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Print the supported API resources on the server."
USAGE = ""
FLAGS = (
    Flag("api-group", "", "str", "", "Only the resources of this group."),
    Flag("cached", "", "bool", False, "Use what is cached."),
    Flag("categories", "", "list", (), "Only the resources of these categories."),
    Flag("namespaced", "", "bool", True, "Only resources with (or without) a namespace."),
    Flag("no-headers", "", "bool", False, "Do not print headers."),
    Flag("output", "o", "str", "", "Output format: wide or name."),
    Flag("sort-by", "", "str", "", "Sort by name or kind."),
    Flag("verbs", "", "list", (), "Only resources that have all of these verbs."),
)


def run(session: Session) -> int:
    options = session.options
    if options.arguments:
        raise UsageError(f"unexpected arguments: [{' '.join(options.arguments)}]")
    if options["output"] not in ("", "wide", "name"):
        raise KubectlError(f"--output {options['output']} is not available")
    if options["sort-by"] not in ("", "name", "kind"):
        raise KubectlError("--sort-by accepts only name or kind")
    rows = [
        row for row in session.discovery.rows(again=not options["cached"]) if row.verbs and _is_wanted(session, row)
    ]
    # One version of each group: the one that the server prefers, which it names first.
    versions: dict[tuple[str, str], str] = {}
    for row in rows:
        versions.setdefault((row.group, row.name), row.version)
    rows = [row for row in rows if versions[(row.group, row.name)] == row.version]
    if options["sort-by"] == "kind":
        rows.sort(key=lambda row: row.kind)
    elif options["sort-by"] == "name":
        rows.sort(key=lambda row: row.name)
    else:
        rows.sort(key=lambda row: (row.group, row.name))
    if options["output"] == "name":
        for row in rows:
            print(row.qualified)
        return 0
    wide = options["output"] == "wide"
    out: list[list[str]] = []
    if not options["no-headers"]:
        head = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
        out.append([*head, "VERBS", "CATEGORIES"] if wide else head)
    for row in rows:
        line = [row.name, ",".join(row.short), row.api_version, "true" if row.namespaced else "false", row.kind]
        out.append([*line, ",".join(row.verbs), ",".join(row.categories)] if wide else line)
    table.write(out)
    return 0


def _is_wanted(session: Session, row: Resource) -> bool:
    options = session.options
    if "api-group" in options.changed and row.group != options["api-group"]:
        return False
    if "namespaced" in options.changed and row.namespaced != options["namespaced"]:
        return False
    if options["verbs"] and not set(options["verbs"]) <= set(row.verbs):
        return False
    return not options["categories"] or set(options["categories"]) <= set(row.categories)
