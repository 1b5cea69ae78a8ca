"""`kubectl rollout history`."""

from wherry.cli.kubectl import revisions, table
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.selection import Found, load
from wherry.cli.kubectl.session import FILES, PRINTING, SELECTOR, Session

HELP = "View previous rollout revisions and configurations."
USAGE = "(TYPE NAME | TYPE/NAME)"
FLAGS = (*FILES, *PRINTING, SELECTOR, Flag("revision", "", "int", 0, "Show this revision, with its pod template."))


def run(session: Session) -> int:
    options = session.options
    if not options.arguments and not options["filename"]:
        raise KubectlError("required resource not specified")
    if options["revision"] < 0:
        raise KubectlError(f"revision must be a positive integer: {options['revision']}")
    for one in load(session, all_of_type=True):
        _show(session, one)
    return 0


def _show(session: Session, one: Found) -> None:
    found = revisions.of(session, one)
    wanted = session.options["revision"]
    chosen = next((revision for revision in found if revision.number == wanted), None)
    if session.options["output"]:
        from wherry.cli.kubectl.output import print_object

        if wanted:
            if chosen is None:
                raise KubectlError("unable to find the specified revision")
            print_object(session.options, {"kind": "ReplicaSet", "apiVersion": "apps/v1", **chosen.object})
        else:
            for revision in found:
                print_object(session.options, {"kind": "ReplicaSet", "apiVersion": "apps/v1", **revision.object})
        return
    if wanted:
        if chosen is None:
            raise KubectlError("unable to find the specified revision")
        from wherry.cli.kubectl.describing.pod_template import describe_template
        from wherry.cli.kubectl.describing.writer import Writer

        out = Writer()
        template = chosen.template
        if chosen.cause:
            meta = template.get("metadata") or {}
            annotations = {**(meta.get("annotations") or {}), revisions.CHANGE_CAUSE: chosen.cause}
            template = {**template, "metadata": {**meta, "annotations": annotations}}
        describe_template(out, template)
        print(f"{one.label} with revision #{wanted}")
        # Unlike describe, the real one does not align this page.
        print("".join(out.parts))
        return
    print(f"{one.label} ")
    rows = [["REVISION", "CHANGE-CAUSE"]]
    rows += [[str(revision.number), revision.cause or "<none>"] for revision in found]
    for line in table.lines(rows, minimum=0, padding=2):
        print(line)
    print()
