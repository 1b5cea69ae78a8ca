"""`kubectl create role` and `kubectl create clusterrole`."""

from typing import Any

from wherry.cli.kubectl.create.common import COMMON, finish, metadata, name_of
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Create a role or a cluster role."
EXAMPLES = """
kubectl create role reader --verb=get,list,watch --resource=pods,deployments.apps
kubectl create clusterrole logs --verb=get --non-resource-url=/logs/*
"""
USAGE = "NAME --verb=verb --resource=resource.group/subresource [--resource-name=resourcename]"
FLAGS = (
    *COMMON,
    Flag("verb", "", "list", (), "Verbs that the rule allows."),
    Flag("resource", "", "list", (), "Resources that the rule is about."),
    Flag("resource-name", "", "array", (), "Names of single objects that the rule is about."),
    Flag("non-resource-url", "", "list", (), "clusterrole: paths that the rule is about."),
    Flag("aggregation-rule", "", "str", "", "clusterrole: labels of the cluster roles to combine."),
)
_URL_VERBS = ("get", "put", "post", "head", "options", "delete", "patch", "*")


def run(session: Session) -> int:
    cluster = session.command.split()[-1] == "clusterrole"
    name = name_of(session)
    kind = "ClusterRole" if cluster else "Role"
    obj: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata(session, name, namespaced=not cluster),
    }
    options = session.options
    if cluster and options["aggregation-rule"]:
        if options["verb"] or options["resource"] or options["non-resource-url"] or options["resource-name"]:
            raise KubectlError(
                "aggregation rule must be specified without nonResourceURLs, verbs, resources or resourceNames"
            )
        pairs = (word.partition("=") for word in options["aggregation-rule"].split(","))
        labels = {key: value for key, _, value in pairs}
        obj["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": labels}]}
        obj["rules"] = None
    else:
        obj["rules"] = _rules(session, cluster)
    return finish(session, f"{kind.lower()}s.rbac.authorization.k8s.io", obj)


def _rules(session: Session, cluster: bool) -> list[dict[str, Any]]:
    options = session.options
    verbs = list(dict.fromkeys(options["verb"]))
    if "*" in verbs:
        verbs = ["*"]
    if not verbs:
        raise KubectlError("at least one verb must be specified")
    urls = options["non-resource-url"] if cluster else []
    if not options["resource"] and not urls:
        raise KubectlError(
            "one of resource or nonResourceURL must be specified"
            if cluster
            else "at least one resource must be specified"
        )
    groups: dict[str, list[str]] = {}
    for word in dict.fromkeys(options["resource"]):
        name, _, subresource = word.partition("/")
        if not name:
            raise KubectlError("resource must be specified if apiGroup/subresource specified")
        group = ""
        if name != "*":
            resource = session.find(name)
            group, name = resource.group, resource.name
        groups.setdefault(group, []).append(f"{name}/{subresource}" if subresource else name)
    rules: list[dict[str, Any]] = []
    for group, names in groups.items():
        rule: dict[str, Any] = {"apiGroups": [group], "resources": names, "verbs": verbs}
        if options["resource-name"]:
            rule["resourceNames"] = options["resource-name"]
        rules.append(rule)
    if urls:
        for verb in verbs:
            if verb not in _URL_VERBS:
                raise KubectlError(f"invalid verb: '{verb}' for nonResourceURL")
        for url in urls:
            if url != "*" and not url.startswith("/"):
                raise KubectlError("nonResourceURL should start with /")
            if "*" in url[:-1]:
                raise KubectlError("nonResourceURL only supports wildcard matches when '*' is at the end")
        rules.append({"nonResourceURLs": urls, "verbs": verbs})
    return rules
