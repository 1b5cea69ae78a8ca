"""`kubectl create token`."""

from typing import Any

from wherry.cli.kubectl.create.common import name_of
from wherry.cli.kubectl.errors import KubectlError, ServerError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import PRINTING, Session

HELP = "Request a service account token."
USAGE = "SERVICE_ACCOUNT_NAME"
FLAGS = (
    *PRINTING,
    Flag("audience", "", "array", (), "Audience of the token; may be repeated."),
    Flag("bound-object-kind", "", "str", "", "Kind of an object to bind the token to: Pod, Secret, Node."),
    Flag("bound-object-name", "", "str", "", "Name of an object to bind the token to."),
    Flag("bound-object-uid", "", "str", "", "UID of an object to bind the token to."),
    Flag("duration", "", "duration", 0.0, "How long the token is valid; 0 leaves it to the server."),
)
_BOUND = {"Pod": "v1", "Secret": "v1", "Node": "v1"}


def run(session: Session) -> int:
    options = session.options
    name = name_of(session)
    if options["duration"] < 0:
        raise KubectlError("--duration must be greater than or equal to 0")
    if options["duration"] % 1:
        raise KubectlError("--duration cannot be expressed in units less than seconds")
    spec: dict[str, Any] = {"audiences": options["audience"] or None}
    kind = options["bound-object-kind"]
    if kind and kind not in _BOUND:
        raise KubectlError(f"supported --bound-object-kind values are {', '.join(sorted(_BOUND))}")
    for flag in ("name", "uid"):
        if options[f"bound-object-{flag}"] and not kind:
            raise KubectlError(f"--bound-object-{flag} can only be set if --bound-object-kind is provided")
    if kind:
        if not options["bound-object-name"]:
            raise KubectlError("--bound-object-name is required if --bound-object-kind is provided")
        spec["boundObjectRef"] = {
            "kind": kind,
            "apiVersion": _BOUND[kind],
            "name": options["bound-object-name"],
            "uid": options["bound-object-uid"],
        }
    if options["duration"]:
        spec["expirationSeconds"] = int(options["duration"])
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec}
    path = session.find("serviceaccounts").path(session.namespace, name, "token")
    try:
        answer = session.http.request("POST", path, None, body)
    except ServerError as error:
        raise KubectlError(f"failed to create token: {error}") from error
    if options["output"]:
        from wherry.cli.kubectl.output import print_object

        print_object(options, answer)
        return 0
    print(answer["status"]["token"])
    return 0
