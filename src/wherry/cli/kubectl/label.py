"""`kubectl label`."""

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

HELP = "Update the labels on a resource. `KEY=VALUE` sets a label, `KEY-` removes it."
EXAMPLES = """
# Give a pod the label 'unhealthy' with the value 'true'
kubectl label pods foo unhealthy=true

# Remove the label 'bar' if it exists
kubectl label pods foo bar-
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
    Flag("list", "", "bool", False, "Show the labels of the objects instead."),
    Flag("local", "", "bool", False, "Change the files' objects without asking the server."),
    Flag("overwrite", "", "bool", False, "Allow labels that exist to be overwritten."),
    Flag("resource-version", "", "str", "", "Change only when this is the object's version."),
)


def run(session: Session) -> int:
    from wherry.cli.kubectl.metadata_edit import edit

    return edit(session, "labels", "label", "labeled")
