"""`kubectl label`."""

from wherry.cli.kubectl import metadata_edit
from wherry.cli.kubectl.session import Session

HELP = metadata_edit.help_text("labels", "a label")
EXAMPLES = metadata_edit.examples("label", "label")
USAGE = metadata_edit.USAGE
FLAGS = metadata_edit.flags("labels")


def run(session: Session) -> int:
    return metadata_edit.edit(session, "labels", "label", "labeled")
