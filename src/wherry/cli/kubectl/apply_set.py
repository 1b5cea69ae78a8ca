"""`kubectl apply set-last-applied`."""

from wherry.cli.kubectl import last_applied
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import MERGE_PATCH
from wherry.cli.kubectl.manifests import read
from wherry.cli.kubectl.selection import target_of
from wherry.cli.kubectl.session import DRY_RUN, FILES, PRINTING, Session

HELP = "Set the latest last-applied-configuration annotations to the contents of a file."
USAGE = "-f FILENAME"
FLAGS = (
    *FILES,
    *PRINTING,
    DRY_RUN,
    Flag("create-annotation", "", "bool", False, "Make the annotation when the object has none."),
)


def run(session: Session) -> int:
    options = session.options
    for document in read(options):
        target = target_of(session, document)
        path = target.resource.path(target.namespace, target.name)
        current = session.http.get(path)
        if last_applied.decode(current) is None and not options["create-annotation"]:
            raise KubectlError(
                f"no last-applied-configuration annotation found on resource: {target.name}, to create the annotation, "
                "run the command with --create-annotation"
            )
        value = last_applied.encode(document.object)
        if session.dry_run != "client" and last_applied.encode(current) != value:
            patch = {"metadata": {"annotations": {last_applied.KEY: value}}}
            query = session.write_query(validate=False)
            current = session.http.request("PATCH", path, query, patch, content_type=MERGE_PATCH)
        session.done(target.resource, target.name, "configured", current)
    return 0
