"""Checks of label selectors, node selectors and affinity terms."""

from typing import Any, Final

from wherry.schema import names
from wherry.schema.validation import metadata
from wherry.schema.validation.field import Causes

_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")
_NODE_OPERATORS: Final = (*_OPERATORS, "Gt", "Lt")


def label_selector(selector: dict[str, Any] | None, path: str, causes: Causes) -> None:
    """A LabelSelector: matchLabels and matchExpressions."""
    if selector is None:
        return
    metadata.labels(selector.get("matchLabels"), f"{path}.matchLabels", causes)
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        operator, values = expression.get("operator", ""), expression.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                causes.required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                causes.forbidden(
                    f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
        else:
            causes.invalid(f"{where}.operator", operator, "not a valid selector operator")
        causes.all_invalid(f"{where}.key", expression.get("key", ""), names.qualified_name(expression.get("key", "")))
        for at, value in enumerate(values):
            causes.all_invalid(f"{where}.values[{at}]", value, names.label_value(value))


def node_selector_term(term: dict[str, Any], path: str, causes: Causes) -> None:
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        _node_requirement(expression, where, causes)
        key = expression.get("key", "")
        causes.all_invalid(f"{where}.key", key, names.qualified_name(key))
        for at, value in enumerate(expression.get("values") or ()):
            causes.all_invalid(f"{where}.values[{at}]", value, names.label_value(value))
    for index, expression in enumerate(term.get("matchFields") or ()):
        where = f"{path}.matchFields[{index}]"
        operator, values = expression.get("operator", ""), expression.get("values") or []
        if operator not in ("In", "NotIn"):
            causes.invalid(f"{where}.operator", operator, "not a valid selector operator")
        elif len(values) != 1:
            causes.required(
                f"{where}.values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            )
        if expression.get("key") != "metadata.name":
            causes.invalid(f"{where}.key", expression.get("key", ""), "not a valid field selector key")
        for at, value in enumerate(values):
            causes.all_invalid(f"{where}.values[{at}]", value, names.dns_subdomain(value))


def _node_requirement(expression: dict[str, Any], where: str, causes: Causes) -> None:
    operator, values = expression.get("operator", ""), expression.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            causes.required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            causes.forbidden(f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            causes.required(f"{where}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
    else:
        causes.invalid(f"{where}.operator", operator, "not a valid selector operator")


def node_selector(selector: dict[str, Any], path: str, causes: Causes) -> None:
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        causes.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(terms):
        node_selector_term(term, f"{path}.nodeSelectorTerms[{index}]", causes)


def affinity(found: dict[str, Any] | None, path: str, causes: Causes) -> None:
    """`spec.affinity` of a pod."""
    if not found:
        return
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    if node := found.get("nodeAffinity"):
        where = f"{path}.nodeAffinity"
        if node.get(required) is not None:
            node_selector(node[required], f"{where}.{required}", causes)
        for index, term in enumerate(node.get(preferred) or ()):
            at = f"{where}.{preferred}[{index}]"
            _weight(term.get("weight", 0), f"{at}.weight", causes)
            node_selector_term(term.get("preference") or {}, f"{at}.preference", causes)
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = found.get(kind) or {}
        for index, term in enumerate(pods.get(required) or ()):
            _pod_term(term, f"{path}.{kind}.{required}[{index}]", causes)
        for index, weighted in enumerate(pods.get(preferred) or ()):
            at = f"{path}.{kind}.{preferred}[{index}]"
            _weight(weighted.get("weight", 0), f"{at}.weight", causes)
            _pod_term(weighted.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm", causes)


def _weight(weight: int, path: str, causes: Causes) -> None:
    if not 1 <= weight <= 100:
        causes.invalid(path, weight, "must be in the range 1-100")


def _pod_term(term: dict[str, Any], path: str, causes: Causes) -> None:
    label_selector(term.get("labelSelector"), f"{path}.labelSelector", causes)
    label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector", causes)
    for namespace in term.get("namespaces") or ():
        causes.all_invalid(f"{path}.namespace", namespace, names.dns_label(namespace))
    key = term.get("topologyKey") or ""
    if not key:
        causes.required(f"{path}.topologyKey", "can not be empty")
    else:
        causes.all_invalid(f"{path}.topologyKey", key, names.qualified_name(key))
