"""`kubectl annotate`."""

from wherry.cli.kubectl import metadata_edit
from wherry.cli.kubectl.session import Session

HELP = metadata_edit.help_text("annotations", "an annotation")
EXAMPLES = metadata_edit.examples("annotate", "annotation")
USAGE = metadata_edit.USAGE
FLAGS = metadata_edit.flags("annotations")


def run(session: Session) -> int:
    return metadata_edit.edit(session, "annotations", "annotation", "annotated")
