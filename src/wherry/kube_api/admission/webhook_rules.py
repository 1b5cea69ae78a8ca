"""Which requests a webhook wants to see: rules, namespace and object selectors, match conditions."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from wherry.kube_api.call import Call
from wherry.schema import builtin, selectors
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api
    from wherry.schema.cel.programs import Condition


class ConditionFailed(Exception):
    """A match condition could not be evaluated."""


class Asked:
    """One write as webhooks see it."""

    def __init__(self, call: Call, obj: Object | None, old: Object | None, operation: str) -> None:
        self.call = call
        self.object = obj
        self.old = old
        self.operation = operation

    @property
    def name(self) -> str:
        found = (self.object or self.old or {}).get("metadata", {}).get("name") or self.call.name or ""
        return str(found)

    def request(self, uid: str) -> Object:
        """The `request` of an AdmissionReview."""
        call, resource = self.call, self.call.resource
        kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        plural = {"group": resource.group, "version": resource.version, "resource": resource.plural}
        user: Object = {"username": call.user.name, "groups": list(call.user.groups)}
        if call.user.uid:
            user["uid"] = call.user.uid
        if call.user.extra:
            user["extra"] = {key: list(values) for key, values in call.user.extra}
        made: Object = {
            "uid": uid,
            "kind": kind,
            "resource": plural,
            "requestKind": kind,
            "requestResource": plural,
            "name": self.name,
            "operation": self.operation,
            "userInfo": user,
            "object": self.object,
            "oldObject": self.old,
            "dryRun": call.dry_run,
            "options": {
                "kind": f"{self.operation.capitalize()}Options",
                "apiVersion": "meta.k8s.io/v1",
            },
        }
        if call.namespace:
            made["namespace"] = call.namespace
        elif resource == builtin.NAMESPACES:
            made["namespace"] = self.name
        if call.subresource:
            made["subResource"] = made["requestSubResource"] = call.subresource
        return made


def wants(api: "Api", webhook: Object, asked: Asked) -> bool:
    """Whether the webhook is to be called. Raises ConditionFailed."""
    return (
        any(_matches(rule, asked) for rule in webhook.get("rules") or ())
        and _namespace_selected(api, webhook.get("namespaceSelector"), asked)
        and _object_selected(webhook.get("objectSelector"), asked)
        and all(_holds(api, one, asked) for one in webhook.get("matchConditions") or ())
    )


def _matches(rule: Object, asked: Asked) -> bool:
    resource = asked.call.resource
    operations, groups = rule.get("operations") or (), rule.get("apiGroups") or ()
    versions, scope = rule.get("apiVersions") or (), rule.get("scope") or "*"
    if not ({"*", asked.operation} & set(operations) and {"*", resource.group} & set(groups)):
        return False
    if not {"*", resource.version} & set(versions):
        return False
    if (scope == "Namespaced" and not resource.namespaced) or (scope == "Cluster" and resource.namespaced):
        return False
    return any(_names(one, resource.plural, asked.call.subresource) for one in rule.get("resources") or ())


def _names(pattern: str, plural: str, subresource: str) -> bool:
    """`pods`, `pods/status`, `*`, `*/*`, `pods/*`, `*/scale`."""
    main, slash, sub = pattern.partition("/")
    if not slash:
        return not subresource and main in ("*", plural)
    return main in ("*", plural) and sub in ("*", subresource)


def _namespace_selected(api: "Api", selector: Object | None, asked: Asked) -> bool:
    if not selector:
        return True
    if asked.call.resource == builtin.NAMESPACES:
        labels = ((asked.object or asked.old or {}).get("metadata") or {}).get("labels") or {}
    elif asked.call.namespace is None:
        return True
    else:
        entry = api.cached(builtin.NAMESPACES, None, asked.call.namespace)
        labels = (entry.shared()["metadata"].get("labels") or {}) if entry is not None else {}
    return selectors.from_label_selector(selector).matches(labels)


def _object_selected(selector: Object | None, asked: Asked) -> bool:
    if not selector:
        return True
    chosen = selectors.from_label_selector(selector)
    return any(
        chosen.matches((one.get("metadata") or {}).get("labels") or {})
        for one in (asked.object, asked.old)
        if one is not None
    )


@lru_cache(maxsize=256)
def _condition(text: str) -> "Condition":
    from wherry.schema.cel.programs import Condition

    return Condition(text)


def _holds(api: "Api", condition: Object, asked: Asked) -> bool:
    from wherry.schema.cel.programs import BadExpression, Failed

    namespace: Any = None
    if asked.call.namespace:
        entry = api.cached(builtin.NAMESPACES, None, asked.call.namespace)
        namespace = entry.decode() if entry is not None else None
    request = asked.request("")
    data = {
        "object": asked.object,
        "oldObject": asked.old,
        "request": {key: value for key, value in request.items() if key not in ("object", "oldObject")},
        "namespaceObject": namespace,
    }
    try:
        return _condition(condition["expression"]).holds(data)
    except (BadExpression, Failed) as error:
        raise ConditionFailed(f"{condition.get('name', '')}: {error}") from error
