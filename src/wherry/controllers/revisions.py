"""ControllerRevisions: the template history of StatefulSets and DaemonSets.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wherry.controllers.ownership import owner_reference
from wherry.controllers.plan import Plan
from wherry.controllers.templates import plain_template, safe_hash
from wherry.schema.builtin import CONTROLLER_REVISIONS
from wherry.schema.resource import Object

HASH_LABEL = "controller-revision-hash"
_SET_HASH_LABEL = "controller.kubernetes.io/hash"
"""What upstream calls the label on the revisions of StatefulSets; their pods bear the revision's whole name."""


@dataclass(frozen=True)
class History:
    """`update`: the name of the revision that has the present template; `templates`: by revision name."""

    update: str
    update_hash: str
    revisions: Sequence[Object]
    templates: dict[str, Object]


def record(owner: Object, found: Iterable[Object], plan: Plan) -> History:
    """Find or (in `plan`) create the revision of the owner's present template, and renumber it to be the newest."""
    revisions = sorted(found, key=lambda one: (one["revision"], one["metadata"]["name"]))
    template = plain_template(owner["spec"]["template"])
    newest = max((one["revision"] for one in revisions), default=0)
    templates = {one["metadata"]["name"]: _template(one) for one in revisions}
    equal = [one for one in revisions if plain_template(_template(one)) == template]
    if equal:
        current = equal[-1]
        if current["revision"] < newest:
            plan.patch(CONTROLLER_REVISIONS, current, {"revision": newest + 1})
            plan.because(f"back to the template of revision {current['revision']}")
        name = current["metadata"]["name"]
        label = (current["metadata"].get("labels") or {}).get(HASH_LABEL, name)
        return History(name, label, revisions, templates)
    metadata = owner["metadata"]
    collisions = (owner.get("status") or {}).get("collisionCount") or None
    digest = safe_hash(template, collisions)
    name = f"{metadata['name']}-{digest}"
    label = name if owner["kind"] == "StatefulSet" else digest
    hashed = {_SET_HASH_LABEL: digest} if owner["kind"] == "StatefulSet" else {HASH_LABEL: digest}
    plan.create(
        CONTROLLER_REVISIONS,
        {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": dict(template["metadata"].get("labels") or {}) | hashed,
                "ownerReferences": [owner_reference(owner)],
            }
            # With them goes kubernetes.io/change-cause, which `kubectl rollout history` shows.
            | ({"annotations": dict(metadata["annotations"])} if metadata.get("annotations") else {}),
            "data": {"spec": {"template": template | {"$patch": "replace"}}},
            "revision": newest + 1,
        },
        may_exist=True,
    )
    plan.because(f"a new template: revision {newest + 1}")
    return History(name, label, revisions, templates | {name: template})


def prune(history: History, in_use: Iterable[str], limit: int, plan: Plan) -> None:
    """Delete the oldest revisions beyond `limit` that no pod has."""
    used = set(in_use) | {history.update}
    idle = [one for one in history.revisions if one["metadata"]["name"] not in used]
    for one in idle[: max(len(idle) - limit, 0)]:
        plan.delete(CONTROLLER_REVISIONS, one)


def _template(revision: Object) -> Object:
    template = ((revision.get("data") or {}).get("spec") or {}).get("template") or {}
    return {name: value for name, value in template.items() if name != "$patch"}
