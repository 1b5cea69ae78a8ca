"""`kubectl set serviceaccount`."""

from wherry.cli.kubectl import pod_specs
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.selection import Found
from wherry.cli.kubectl.session import Object, Session

HELP = "Update the service account of pod template resources."
USAGE = "(-f FILENAME | TYPE NAME) SERVICE_ACCOUNT"
FLAGS = pod_specs.FLAGS


def run(session: Session) -> int:
    arguments = session.options.arguments
    if not arguments:
        raise KubectlError("serviceaccount is required")
    account = arguments[-1]

    def edit(one: Found, obj: Object) -> None:
        spec = pod_specs.pod_spec(obj)
        if spec is None:
            raise KubectlError(f"the object is not a pod or does not have a pod template: {obj.get('kind')}")
        spec["serviceAccountName"] = account
        if "serviceAccount" in spec:
            spec["serviceAccount"] = account

    return pod_specs.change(session, pod_specs.objects(session, arguments[:-1]), edit, "serviceaccount updated")
