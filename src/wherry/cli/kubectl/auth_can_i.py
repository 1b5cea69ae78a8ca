"""`kubectl auth can-i`."""

from typing import Any

from wherry.cli.kubectl import table
from wherry.cli.kubectl.errors import KubectlError, Quiet, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import ALL_NAMESPACES, Session

HELP = "Check whether an action is allowed."
EXAMPLES = """
kubectl auth can-i create pods --all-namespaces
kubectl auth can-i list deployments.apps
kubectl auth can-i get /logs/
kubectl auth can-i --list --namespace=foo
"""
USAGE = "VERB [TYPE | TYPE/NAME | NONRESOURCEURL]"
FLAGS = (
    ALL_NAMESPACES,
    Flag("list", "", "bool", False, "List all allowed actions."),
    Flag("no-headers", "", "bool", False, "With --list: do not print headers."),
    Flag("quiet", "q", "bool", False, "Print nothing; the exit code says it."),
    Flag("subresource", "", "str", "", "The subresource, such as log or scale."),
)
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubject"


def run(session: Session) -> int:
    options = session.options
    namespace = "" if options["all-namespaces"] else session.namespace
    if options["list"]:
        if options.arguments:
            raise KubectlError("list option must be specified with no arguments")
        return _list(session)
    if options["quiet"] and options["list"]:
        raise KubectlError("list option and quiet option can't be specified together")
    if len(options.arguments) not in (2, 3):
        raise KubectlError(
            "you must specify two arguments: verb resource or verb resource/resourceName.\nSee "
            "'kubectl auth can-i -h' for help and examples."
        )
    verb, what = options.arguments[:2]
    name = options.arguments[2] if len(options.arguments) == 3 else ""
    spec: dict[str, Any]
    if what.startswith("/"):
        if options["subresource"]:
            raise KubectlError("--subresource can not be used with NonResourceURL")
        spec = {"nonResourceAttributes": {"path": what, "verb": verb}}
        known = ("get", "put", "post", "head", "options", "delete", "patch", "*")
        if verb not in known:
            session.say(f"Warning: verb '{verb}' is not a known verb\n")
    else:
        kind, slash, after = what.partition("/")
        if slash:
            name = after
        attributes = _attributes(session, kind, namespace)
        attributes["verb"] = verb
        if options["subresource"]:
            attributes["subresource"] = options["subresource"]
        if name:
            attributes["name"] = name
        spec = {"resourceAttributes": attributes}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {}, "spec": spec}
    status = session.http.request("POST", f"{_REVIEW}accessreviews", None, body).get("status") or {}
    allowed = bool(status.get("allowed"))
    if not options["quiet"]:
        text = "yes" if allowed else "no"
        if status.get("reason") and not allowed:
            text += f" - {status['reason']}"
        if status.get("evaluationError") and not allowed:
            text += f" - {status['evaluationError']}"
        print(text)
    if not allowed:
        raise Quiet(1)
    return 0


def _attributes(session: Session, word: str, namespace: str) -> dict[str, Any]:
    if word == "*":
        return {"resource": "*", "group": "*", "namespace": namespace}
    try:
        resource = session.find(word)
    except UsageError:
        raise
    except KubectlError:
        name, _, group = word.partition(".")
        session.say(
            f"Warning: the server doesn't have a resource type '{name}'"
            + (f" in group '{group}'" if group else "")
            + "\n"
        )
        return {"resource": name, "group": group, "namespace": namespace}
    attributes: dict[str, Any] = {"resource": resource.name, "group": resource.group, "version": resource.version}
    if resource.namespaced:
        attributes["namespace"] = namespace
    else:
        attributes["namespace"] = namespace
        if not session.options["all-namespaces"]:
            group = f" in group '{resource.group}'" if resource.group else ""
            session.say(f"Warning: resource '{resource.name}' is not namespace scoped{group}\n")
    return attributes


def _list(session: Session) -> int:
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "metadata": {},
        "spec": {"namespace": session.namespace},
    }
    status = session.http.request("POST", f"{_REVIEW}rulesreviews", None, body).get("status") or {}
    rows = [] if session.options["no-headers"] else [["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]]
    rules = [*(status.get("resourceRules") or ()), *(status.get("nonResourceRules") or ())]
    from wherry.cli.kubectl.describing.rbac import _rows

    found = list(_rows(rules))
    rows += [[resource, urls, names, verbs] for resource, urls, names, verbs in found]
    table.write(rows)
    return 0
