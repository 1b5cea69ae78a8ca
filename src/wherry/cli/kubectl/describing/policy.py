"""Quotas, limit ranges, disruption budgets, priority classes, network policies."""

from typing import Any

from wherry.cli.kubectl.describing.writer import Object, Writer, events, label_text, selector_text
from wherry.cli.kubectl.session import Session

_SCOPES = {
    "Terminating": "Matches all pods that have an active deadline. These pods have a limited lifespan on "
    "a node before being actively terminated by the system.",
    "NotTerminating": "Matches all pods that do not have an active deadline. These pods usually include "
    "long running pods whose container command is not expected to terminate.",
    "BestEffort": "Matches all pods that do not have resource requirements set. These pods have a best "
    "effort quality of service.",
    "NotBestEffort": "Matches all pods that have at least one resource requirement set. These pods have a "
    "burstable or guaranteed quality of service.",
}


def _scopes(out: Writer, scopes: list[str], level: int) -> None:
    for scope in sorted(scopes):
        text = _SCOPES.get(scope)
        if text:
            out.raw(f"{' ' * level} * {text}\n")


def resource_quota(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    if spec.get("scopes"):
        out.field("Scopes", ", ".join(sorted(spec["scopes"])))
        _scopes(out, spec["scopes"], 0)
    out.raw("Resource\tUsed\tHard\n--------\t----\t----\n")
    used = status.get("used") or {}
    for name, hard in sorted((status.get("hard") or {}).items()):
        out.raw(f"{name}\t{used.get(name, 0)}\t{hard}\n")


def quotas_in_namespace(out: Writer, quotas: list[Object]) -> None:
    if not quotas:
        out.raw("No resource quota.\n")
        return
    out.raw("Resource Quotas\n")
    for quota in sorted(quotas, key=lambda one: str(one["metadata"]["name"])):
        spec, status = quota.get("spec") or {}, quota.get("status") or {}
        out.raw(f"  Name:\t{quota['metadata']['name']}\n")
        if spec.get("scopes"):
            out.raw(f"  Scopes:\t{', '.join(sorted(spec['scopes']))}\n")
            _scopes(out, spec["scopes"], 1)
        out.raw("  Resource\tUsed\tHard\n  --------\t---\t---\n")
        used = status.get("used") or {}
        for name, hard in sorted((status.get("hard") or {}).items()):
            out.raw(f"  {name}\t{used.get(name, 0)}\t{hard}\n")


def _limits(out: Writer, item: Object, prefix: str) -> None:
    names: set[str] = set()
    for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
        names.update(item.get(field) or {})

    def value(field: str, name: str) -> Any:
        return (item.get(field) or {}).get(name, "-")

    for name in sorted(names):
        out.raw(
            f"{prefix}{item.get('type', '')}\t{name}\t{value('min', name)}\t{value('max', name)}\t"
            f"{value('defaultRequest', name)}\t{value('default', name)}\t{value('maxLimitRequestRatio', name)}\n"
        )


_LIMIT_HEAD = "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio"
_LIMIT_RULE = "----\t--------\t---\t---\t---------------\t-------------\t-----------------------"


def limit_range(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta = obj["metadata"]
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.raw(f"{_LIMIT_HEAD}\n{_LIMIT_RULE}\n")
    for item in (obj.get("spec") or {}).get("limits") or ():
        _limits(out, item, "")


def limits_in_namespace(out: Writer, ranges: list[Object]) -> None:
    if not ranges:
        out.raw("No LimitRange resource.\n")
        return
    out.raw("Resource Limits\n " + _LIMIT_HEAD + "\n " + _LIMIT_RULE + "\n")
    for one in ranges:
        for item in (one.get("spec") or {}).get("limits") or ():
            _limits(out, item, " ")


def disruption_budget(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    if spec.get("minAvailable") is not None:
        out.field("Min available", spec["minAvailable"])
    elif spec.get("maxUnavailable") is not None:
        out.field("Max unavailable", spec["maxUnavailable"])
    out.field("Selector", selector_text(spec["selector"]) if spec.get("selector") is not None else "<unset>")
    out.raw("Status:\n")
    for title, key in (
        ("Allowed disruptions", "disruptionsAllowed"),
        ("Current", "currentHealthy"),
        ("Desired", "desiredHealthy"),
        ("Total", "expectedPods"),
    ):
        out.field(title, status.get(key) or 0, 2)
    events(out, found)


def priority_class(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta = obj["metadata"]
    out.field("Name", meta["name"])
    out.field("Value", obj.get("value", 0))
    out.field("GlobalDefault", "true" if obj.get("globalDefault") else "false")
    out.field("PreemptionPolicy", obj.get("preemptionPolicy", ""))
    out.field("Description", obj.get("description", ""))
    out.field("Annotations", label_text(meta.get("annotations")))
    events(out, found)


def network_policy(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec = obj["metadata"], obj.get("spec") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    created = str(meta.get("creationTimestamp", "")).replace("T", " ").replace("Z", " +0000 UTC")
    out.field("Created on", created)
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.raw("Spec:\n")
    out.raw("  PodSelector: ")
    selector = spec.get("podSelector") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        out.raw("    <none> (Allowing the specific traffic to all pods in this namespace)\n")
    else:
        out.raw(f"    {selector_text(selector)}\n")
    types = spec.get("policyTypes") or ["Ingress"]
    if "Ingress" in types:
        out.line(1, "Allowing ingress traffic:")
        _rules(out, spec.get("ingress") or [], "from", "From", "source", "ingress")
    else:
        out.line(1, "Not affecting ingress traffic")
    if "Egress" in types:
        out.line(1, "Allowing egress traffic:")
        _rules(out, spec.get("egress") or [], "to", "To", "destination", "egress")
    else:
        out.line(1, "Not affecting egress traffic")
    out.line(1, f"Policy Types: {', '.join(types)}")


def _rules(out: Writer, rules: list[Object], field: str, title: str, noun: str, direction: str) -> None:
    indent = "    "
    if not rules:
        out.raw(f"{indent}<none> (Selected pods are isolated for {direction} connectivity)\n")
        return
    for index, rule in enumerate(rules):
        if not rule.get("ports"):
            out.raw(f"{indent}To Port: <any> (traffic allowed to all ports)\n")
        for port in rule.get("ports") or ():
            protocol = port.get("protocol", "TCP")
            if port.get("endPort") is not None:
                out.raw(f"{indent}To Port Range: {port.get('port')}-{port['endPort']}/{protocol}\n")
            else:
                out.raw(f"{indent}To Port: {port.get('port', '<nil>')}/{protocol}\n")
        if not rule.get(field):
            out.raw(f"{indent}{title}: <any> (traffic not restricted by {noun})\n")
        for peer in rule.get(field) or ():
            out.raw(f"{indent}{title}:\n")
            if peer.get("namespaceSelector") is not None:
                out.line(1, f"{indent}NamespaceSelector: {selector_text(peer['namespaceSelector'])}")
            if peer.get("podSelector") is not None:
                out.line(1, f"{indent}PodSelector: {selector_text(peer['podSelector'])}")
            if peer.get("ipBlock"):
                out.line(1, f"{indent}IPBlock:")
                out.line(2, f"{indent}CIDR: {peer['ipBlock'].get('cidr', '')}")
                out.line(2, f"{indent}Except: {', '.join(peer['ipBlock'].get('except') or ())}")
        if index < len(rules) - 1:
            out.raw(f"{indent}----------\n")
