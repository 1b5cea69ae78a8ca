"""Nobody grants more than they hold: checks on roles and bindings (the `escalate` and `bind` verbs lift them).

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
"""

from typing import TYPE_CHECKING, Any

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.call import Call
from wherry.schema import builtin, errors
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

ROLES = (builtin.ROLES, builtin.CLUSTER_ROLES)
BINDINGS = (builtin.ROLE_BINDINGS, builtin.CLUSTER_ROLE_BINDINGS)


class Escalation(Plugin):
    """See the module."""

    async def validate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> None:
        if call.trusted or "system:masters" in call.user.groups:
            return
        if call.resource in ROLES:
            if old is None or old.get("rules") != obj.get("rules"):
                self._check(api, call, obj, obj.get("rules") or [], "escalate", call.resource.plural, obj["metadata"])
        elif call.resource in BINDINGS and (old is None or old.get("subjects") != obj.get("subjects")):
            reference = obj.get("roleRef") or {}
            rules = list(api.services["authorizer"].rbac.role_rules(reference, call.namespace or ""))
            plural = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
            self._check(api, call, obj, rules, "bind", plural, reference)

    def _check(
        self, api: "Api", call: Call, obj: Object, rules: list[Any], verb: str, plural: str, target: Object
    ) -> None:
        from wherry.kube_api.auth.attributes import Attributes

        authorizer = api.services["authorizer"]
        namespace = call.namespace or ""
        name = target.get("name", "")
        if authorizer.allows(Attributes(call.user, verb, "rbac.authorization.k8s.io", plural, "", namespace, name)):
            return
        missing = authorizer.rbac.covers(call.user, namespace, rules)
        if missing:
            groups = " ".join(f'"{group}"' for group in call.user.groups)
            raise errors.Forbidden(
                f'{call.resource.qualified} "{obj["metadata"].get("name", "")}" is forbidden: user "{call.user.name}" '
                f"(groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n"
                + "\n".join(_shown(rule) for rule in compacted(missing)),
                details={
                    "name": obj["metadata"].get("name", ""),
                    "group": call.resource.group,
                    "kind": call.resource.plural,
                },
            )


def compacted(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same permissions with one rule for all verbs on one resource, in order of group and resource."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for rule in rules:
        key = tuple(tuple(rule.get(field) or ()) for field in ("apiGroups", "resources", "resourceNames",
                                                               "nonResourceURLs"))  # fmt: skip
        found = merged.setdefault(key, {**rule, "verbs": []})
        found["verbs"] += [verb for verb in rule.get("verbs") or () if verb not in found["verbs"]]
    return [merged[key] for key in sorted(merged)]


def _shown(rule: dict[str, Any]) -> str:
    fields = (
        ("APIGroups", "apiGroups"), ("Resources", "resources"), ("ResourceNames", "resourceNames"),
        ("NonResourceURLs", "nonResourceURLs"), ("Verbs", "verbs"),
    )  # fmt: skip
    parts = [
        f"{shown}:[" + " ".join(f'"{one}"' for one in rule[field]) + "]" for shown, field in fields if field in rule
    ]
    return "{" + ", ".join(parts) + "}"
