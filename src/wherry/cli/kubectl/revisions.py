"""The history of a rollout: a deployment's replica sets, a daemon or stateful set's controller revisions."""

from typing import Any, NamedTuple

from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.selection import Found
from wherry.cli.kubectl.session import Object, Session

CHANGE_CAUSE = "kubernetes.io/change-cause"
_REVISION = "deployment.kubernetes.io/revision"


class Revision(NamedTuple):
    number: int
    template: Object
    """The pod template."""
    cause: str
    object: Object


def of(session: Session, one: Found) -> list[Revision]:
    """The revisions, oldest first. Raises KubectlError for kinds without history."""
    if one.resource.kind == "Deployment":
        return _replica_sets(session, one)
    if one.resource.kind in ("DaemonSet", "StatefulSet"):
        return _controller_revisions(session, one)
    kind = f"{one.resource.kind}.{one.resource.group}" if one.resource.group else one.resource.kind
    raise KubectlError(f"no history viewer has been implemented for {kind!r}".replace("'", '"'))


def _owned(session: Session, one: Found, plural: str) -> list[Object]:
    from wherry.schema.selectors import format_label_selector

    resource = session.find(plural)
    query = {"labelSelector": format_label_selector(one.object["spec"]["selector"])}
    items = session.http.get(resource.path(one.namespace), query).get("items") or []
    uid = one.object["metadata"]["uid"]
    return [i for i in items if any(o.get("uid") == uid for o in i["metadata"].get("ownerReferences") or ())]


def _replica_sets(session: Session, one: Found) -> list[Revision]:
    found = []
    for item in _owned(session, one, "replicasets.apps"):
        annotations = item["metadata"].get("annotations") or {}
        if not annotations.get(_REVISION):
            continue
        found.append(
            Revision(int(annotations[_REVISION]), item["spec"]["template"], annotations.get(CHANGE_CAUSE, ""), item)
        )
    return sorted(found, key=lambda revision: revision.number)


def _controller_revisions(session: Session, one: Found) -> list[Revision]:
    from wherry.schema.definitions import by_kind
    from wherry.schema.merge import strategic_merge

    kind = by_kind("apps/v1", one.resource.kind)
    assert kind is not None
    found = []
    for item in _owned(session, one, "controllerrevisions.apps"):
        restored: Any = strategic_merge(kind, one.object, item.get("data") or {})
        cause = (item["metadata"].get("annotations") or {}).get(CHANGE_CAUSE, "")
        found.append(Revision(int(item["revision"]), restored["spec"]["template"], cause, item))
    return sorted(found, key=lambda revision: revision.number)
