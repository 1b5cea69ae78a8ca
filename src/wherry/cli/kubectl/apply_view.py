"""`kubectl apply view-last-applied`."""

import json

from wherry.cli.kubectl import last_applied
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.output import to_json
from wherry.cli.kubectl.selection import load
from wherry.cli.kubectl.session import FILES, SELECTOR, Session

HELP = "View the latest last-applied-configuration annotations by type/name or file."
USAGE = "(TYPE [NAME | -l label] | TYPE/NAME | -f FILENAME)"
FLAGS = (
    *FILES,
    SELECTOR,
    Flag("output", "o", "str", "yaml", 'Output format: "yaml" or "json".'),
    Flag("all", "", "bool", False, "All objects of the given type."),
)


def run(session: Session) -> int:
    form = session.options["output"]
    if form not in ("yaml", "json"):
        raise session.usage(f"Unexpected -o output mode: {form}, the flag 'output' must be one of yaml|json")
    texts = []
    for found in load(session):
        applied = last_applied.decode(found.object)
        if applied is None:
            raise KubectlError(f"no last-applied-configuration annotation found on resource: {found.name}")
        texts.append(applied)
    for applied in texts:
        if form == "json":
            print(to_json(json.loads(json.dumps(applied))))
        else:
            from wherry.cli.kubectl.yamlio import dump

            print(dump(applied), end="")
    return 0
