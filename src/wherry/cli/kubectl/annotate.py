"""`kubectl annotate`."""

from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import (
    ALL_NAMESPACES,
    DRY_RUN,
    FIELD_SELECTOR,
    FILES,
    MANAGER,
    PRINTING,
    SELECTOR,
    Session,
)

HELP = "Update the annotations on a resource. `KEY=VALUE` sets an annotation, `KEY-` removes it."
EXAMPLES = """
# Give a pod the annotation 'unhealthy' with the value 'true'
kubectl annotate pods foo unhealthy=true

# Remove the annotation 'bar' if it exists
kubectl annotate pods foo bar-
"""
USAGE = "[--overwrite] (-f FILENAME | TYPE NAME) KEY_1=VAL_1 ... KEY_N=VAL_N [--resource-version=version]"
FLAGS = (
    *FILES,
    *PRINTING,
    SELECTOR,
    FIELD_SELECTOR,
    ALL_NAMESPACES,
    DRY_RUN,
    MANAGER,
    Flag("all", "", "bool", False, "Select all objects of the given types in the namespace."),
    Flag("list", "", "bool", False, "Show the annotations of the objects instead."),
    Flag("local", "", "bool", False, "Change the files' objects without asking the server."),
    Flag("overwrite", "", "bool", False, "Allow annotations that exist to be overwritten."),
    Flag("resource-version", "", "str", "", "Change only when this is the object's version."),
)


def run(session: Session) -> int:
    from wherry.cli.kubectl.metadata_edit import edit

    return edit(session, "annotations", "annotation", "annotated")
