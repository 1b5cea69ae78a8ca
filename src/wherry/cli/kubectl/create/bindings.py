"""`kubectl create rolebinding` and `kubectl create clusterrolebinding`."""

from typing import Any

from wherry.cli.kubectl.create.common import COMMON, finish, metadata, name_of
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Create a role binding or a cluster role binding."
EXAMPLES = """
kubectl create rolebinding admin --clusterrole=admin --user=user1 --group=group1
kubectl create clusterrolebinding ops --clusterrole=cluster-admin --serviceaccount=ns:ops
"""
USAGE = "NAME --clusterrole=NAME|--role=NAME [--user=username] [--group=groupname] [--serviceaccount=namespace:name]"
FLAGS = (
    *COMMON,
    Flag("clusterrole", "", "str", "", "The cluster role to bind."),
    Flag("role", "", "str", "", "rolebinding: the role to bind."),
    Flag("user", "", "array", (), "Users to bind the role to."),
    Flag("group", "", "array", (), "Groups to bind the role to."),
    Flag("serviceaccount", "", "array", (), "Service accounts to bind the role to, as namespace:name."),
)
_GROUP = "rbac.authorization.k8s.io"


def run(session: Session) -> int:
    options = session.options
    cluster = session.command.split()[-1] == "clusterrolebinding"
    name = name_of(session)
    if cluster and not options["clusterrole"]:
        raise KubectlError('required flag(s) "clusterrole" not set')
    if not cluster and bool(options["clusterrole"]) == bool(options["role"]):
        raise KubectlError("exactly one of clusterrole or role must be specified")
    subjects: list[dict[str, Any]] = [{"apiGroup": _GROUP, "kind": "User", "name": user} for user in options["user"]]
    subjects += [{"apiGroup": _GROUP, "kind": "Group", "name": group} for group in options["group"]]
    for account in options["serviceaccount"]:
        namespace, colon, own = account.partition(":")
        if not colon or not namespace or not own or ":" in own:
            raise KubectlError("serviceaccount must be <namespace>:<name>")
        subjects.append({"kind": "ServiceAccount", "name": own, "namespace": namespace})
    role = "ClusterRole" if options["clusterrole"] else "Role"
    kind = "ClusterRoleBinding" if cluster else "RoleBinding"
    obj: dict[str, Any] = {
        "apiVersion": f"{_GROUP}/v1",
        "kind": kind,
        "metadata": metadata(session, name, namespaced=not cluster),
        "roleRef": {"apiGroup": _GROUP, "kind": role, "name": options["clusterrole"] or options["role"]},
    }
    if subjects:
        obj["subjects"] = subjects
    return finish(session, f"{kind.lower()}s.{_GROUP}", obj, failed=f"failed to create {kind.lower()}: ")
