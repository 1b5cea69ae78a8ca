"""`kubectl set selector`."""

from wherry.cli.kubectl import pod_specs
from wherry.cli.kubectl.create.simple import selector_of
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.selection import Found
from wherry.cli.kubectl.session import Object, Session

HELP = "Set the selector on a service."
USAGE = "(-f FILENAME | TYPE NAME) EXPRESSIONS"
FLAGS = (*pod_specs.FLAGS, Flag("resource-version", "", "str", "", "Change only when this is the object's version."))


def run(session: Session) -> int:
    arguments = session.options.arguments
    if len(arguments) < 2 and not session.options["filename"]:
        raise KubectlError("one selector is required")
    labels = selector_of(arguments[-1])["matchLabels"]

    def edit(one: Found, obj: Object) -> None:
        if one.resource.kind != "Service":
            raise KubectlError("setting a selector is only supported for Services")
        obj["spec"]["selector"] = labels

    return pod_specs.change(session, pod_specs.objects(session, arguments[:-1]), edit, "selector updated")
