"""`kubectl create` for kinds of a few fields: namespace, service account, quota, priority class, disruption budget."""

from typing import Any

from wherry.cli.kubectl.create.common import COMMON, finish, metadata, name_of
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Create an object with the specified name."
USAGE = "NAME"
FLAGS = (
    *COMMON,
    Flag("hard", "", "str", "", "quota: limits, as resource=quantity pairs."),
    Flag("scopes", "", "str", "", "quota: the scopes that it counts."),
    Flag("value", "", "int", 0, "priorityclass: the priority."),
    Flag("global-default", "", "bool", False, "priorityclass: the default of pods that name none."),
    Flag("description", "", "str", "", "priorityclass: what it is for."),
    Flag("preemption-policy", "", "str", "PreemptLowerPriority", "priorityclass: Never or PreemptLowerPriority."),
    Flag("min-available", "", "str", "", "poddisruptionbudget: pods that must stay, or a percentage."),
    Flag("max-unavailable", "", "str", "", "poddisruptionbudget: pods that may go, or a percentage."),
    Flag("selector", "", "str", "", "poddisruptionbudget: the labels of its pods."),
)


def run(session: Session) -> int:
    word = session.command.split()[-1]
    if word in ("namespace", "ns"):
        name = name_of(session)
        meta = metadata(session, name, namespaced=False)
        return finish(
            session, "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta, "spec": {}, "status": {}}
        )
    if word in ("serviceaccount", "sa"):
        meta = metadata(session, name_of(session))
        obj = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
        return finish(session, "serviceaccounts", obj, failed="failed to create serviceaccount: ")
    if word in ("quota", "resourcequota"):
        return _quota(session)
    if word in ("priorityclass", "pc"):
        return _priority_class(session)
    return _disruption_budget(session)


def _quota(session: Session) -> int:
    options = session.options
    spec: dict[str, Any] = {}
    if options["hard"]:
        hard: dict[str, str] = {}
        for word in options["hard"].split(","):
            key, equals, value = word.partition("=")
            if not equals:
                raise KubectlError(f"Invalid argument syntax {word}, expected <resource>=<value>")
            hard[key] = value
        spec["hard"] = hard
    if options["scopes"]:
        spec["scopes"] = options["scopes"].split(",")
    meta = metadata(session, name_of(session))
    obj = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": spec, "status": {}}
    return finish(session, "resourcequotas", obj, failed="failed to create quota: ")


def _priority_class(session: Session) -> int:
    options = session.options
    name = name_of(session)
    obj: dict[str, Any] = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": metadata(session, name, namespaced=False),
        "value": options["value"],
        "preemptionPolicy": options["preemption-policy"],
    }
    if options["global-default"]:
        obj["globalDefault"] = True
    if options["description"]:
        obj["description"] = options["description"]
    return finish(session, "priorityclasses.scheduling.k8s.io", obj, failed="failed to create priorityclass: ")


def _disruption_budget(session: Session) -> int:
    options = session.options
    name = name_of(session)
    if not options["selector"]:
        raise KubectlError("a selector must be specified")
    if not options["min-available"] and not options["max-unavailable"]:
        raise KubectlError("one of min-available or max-unavailable must be specified")
    if options["min-available"] and options["max-unavailable"]:
        raise KubectlError("min-available and max-unavailable cannot be both specified")
    flag, field = (
        ("min-available", "minAvailable") if options["min-available"] else ("max-unavailable", "maxUnavailable")
    )
    value = options[flag]
    if not value.rstrip("%").isdigit():
        raise KubectlError(f"invalid format specified for {flag}")
    obj = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(session, name),
        "spec": {field: int(value) if value.isdigit() else value, "selector": selector_of(options["selector"])},
        "status": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
    }
    return finish(session, "poddisruptionbudgets.policy", obj, failed="failed to create poddisruptionbudgets: ")


def selector_of(text: str) -> dict[str, Any]:
    """A label selector's string as an object."""
    labels: dict[str, str] = {}
    for word in text.split(","):
        key, equals, value = word.partition("=")
        if not equals or key.endswith("!"):
            raise KubectlError(f"couldn't parse the selector string {text!r}: only key=value is supported here")
        labels[key.strip()] = value.lstrip("=").strip()
    return {"matchLabels": labels}
