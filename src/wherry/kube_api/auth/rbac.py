"""RBAC: roles and bindings, read from the cache, with verdicts remembered until one of them changes.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from collections.abc import Iterable, Iterator
from typing import Any

from wherry.kube_api.api import Api
from wherry.kube_api.auth.attributes import Attributes
from wherry.kube_api.cache import CacheEvent
from wherry.kube_api.call import User
from wherry.schema import builtin
from wherry.schema.resource import Object

Rule = dict[str, Any]

CACHE_SIZE = 16384


class Rbac:
    """`allows(attributes)`. system:masters may do everything."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._verdicts: dict[Attributes, bool] = {}
        for resource in (
            builtin.ROLES, builtin.CLUSTER_ROLES, builtin.ROLE_BINDINGS, builtin.CLUSTER_ROLE_BINDINGS,
        ):  # fmt: skip
            api.cache_of(resource).listen(self._forget)

    def _forget(self, event: CacheEvent) -> None:
        self._verdicts.clear()

    def allows(self, asked: Attributes) -> bool:
        if "system:masters" in asked.user.groups:
            return True
        verdict = self._verdicts.get(asked)
        if verdict is None:
            if len(self._verdicts) >= CACHE_SIZE:
                self._verdicts.clear()
            verdict = any(matches(rule, asked) for rule in self.rules(asked.user, asked.namespace))
            self._verdicts[asked] = verdict
        return verdict

    def rules(self, user: User, namespace: str) -> Iterator[Rule]:
        """Every rule that holds for the user in a namespace ("" : cluster-wide only)."""
        for entry in self._api.cache_of(builtin.CLUSTER_ROLE_BINDINGS).entries():
            binding = entry.shared()
            if applies(binding.get("subjects"), user, ""):
                yield from self.role_rules(binding["roleRef"], "")
        if namespace:
            for entry in self._api.cache_of(builtin.ROLE_BINDINGS).entries(namespace):
                binding = entry.shared()
                if applies(binding.get("subjects"), user, namespace):
                    yield from self.role_rules(binding["roleRef"], namespace)

    def role_rules(self, reference: Object, namespace: str) -> Iterable[Rule]:
        """The rules of the role that a binding refers to; none when it does not exist."""
        if reference.get("kind") == "ClusterRole":
            entry = self._api.cached(builtin.CLUSTER_ROLES, None, reference.get("name", ""))
        else:
            entry = self._api.cached(builtin.ROLES, namespace, reference.get("name", ""))
        return (entry.shared().get("rules") or ()) if entry is not None else ()

    def covers(self, user: User, namespace: str, wanted: Iterable[Rule]) -> list[Rule]:
        """The rules of `wanted` that the user does not hold (escalation): broken down to single permissions."""
        owned = list(self.rules(user, namespace))
        return [one for rule in wanted for one in _singles(rule) if not any(_contains(mine, one) for mine in owned)]


def applies(subjects: Iterable[Object] | None, user: User, namespace: str) -> bool:
    """Whether one of a binding's subjects is the user."""
    for subject in subjects or ():
        kind, name = subject.get("kind"), subject.get("name", "")
        if kind == "User":
            if name == user.name:
                return True
        elif kind == "Group":
            if name in user.groups:
                return True
        elif kind == "ServiceAccount":
            space = subject.get("namespace") or namespace
            if user.name == f"system:serviceaccount:{space}:{name}":
                return True
    return False


def matches(rule: Rule, asked: Attributes) -> bool:
    """Whether one rule permits what is asked."""
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and asked.verb not in verbs:
        return False
    if asked.path:
        return any(
            path == "*" or path == asked.path or (path.endswith("*") and asked.path.startswith(path[:-1]))
            for path in rule.get("nonResourceURLs") or ()
        )
    groups = rule.get("apiGroups") or ()
    if "*" not in groups and asked.group not in groups:
        return False
    resources = rule.get("resources") or ()
    full = asked.full_resource
    by_subresource = bool(asked.subresource) and f"*/{asked.subresource}" in resources
    if "*" not in resources and full not in resources and not by_subresource:
        return False
    names = rule.get("resourceNames")
    return not names or asked.name in names


def _singles(rule: Rule) -> Iterator[Rule]:
    for verb in rule.get("verbs") or ():
        for path in rule.get("nonResourceURLs") or ():
            yield {"verbs": [verb], "nonResourceURLs": [path]}
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                base = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                names = rule.get("resourceNames")
                if not names:
                    yield base
                for name in names or ():
                    yield {**base, "resourceNames": [name]}


def _contains(owner: Rule, single: Rule) -> bool:
    """Whether a rule that is held includes a single permission."""
    verbs = owner.get("verbs") or ()
    if "*" not in verbs and single["verbs"][0] not in verbs:
        return False
    if "nonResourceURLs" in single:
        wanted = single["nonResourceURLs"][0]
        return any(
            path in ("*", wanted) or (path.endswith("*") and wanted.startswith(path[:-1]))
            for path in owner.get("nonResourceURLs") or ()
        )
    groups, resources = owner.get("apiGroups") or (), owner.get("resources") or ()
    if "*" not in groups and single["apiGroups"][0] not in groups:
        return False
    resource = single["resources"][0]
    if "*" not in resources and resource not in resources:
        subresource = resource.partition("/")[2]
        if not subresource or f"*/{subresource}" not in resources:
            return False
    names = owner.get("resourceNames")
    return not names or ("resourceNames" in single and single["resourceNames"][0] in names)
