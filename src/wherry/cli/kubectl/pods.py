"""Finding the pod and the container that exec, attach, logs, cp and port-forward are about."""

from typing import Any

from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.selection import Found, Target, fetch, select
from wherry.cli.kubectl.session import Object, Session

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def one_pod(session: Session, word: str) -> Found:
    """The pod `NAME`, `pod/NAME`, or the first one of `deployment/NAME`."""
    found = target_object(session, word)
    if found.resource.kind == "Pod":
        return found
    return first_pod(session, found)


def target_object(session: Session, word: str) -> Found:
    """The object of `NAME` (a pod) or `TYPE/NAME`."""
    if "/" in word:
        targets = select(session, [word])
    else:
        targets = [Target(session.find("pods"), session.namespace, word)]
    return fetch(session, targets)[0]


def selector_of(found: Found) -> str:
    """The label selector of the pods behind an object. Raises KubectlError when it has none."""
    from wherry.schema.selectors import format_label_selector

    spec: Any = found.object.get("spec") or {}
    kind = found.resource.kind
    if kind in ("Service", "ReplicationController"):
        labels = spec.get("selector") or {}
        if not labels:
            raise KubectlError(f"invalid service '{found.name}': Service is defined without a selector")
        return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    if kind in ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job") and spec.get("selector"):
        return format_label_selector(spec["selector"])
    group = f"{kind}.{found.resource.group}" if found.resource.group else kind
    raise KubectlError(f"selector for {group} not implemented")


def pods_of(session: Session, found: Found) -> list[Object]:
    """The pods behind an object."""
    resource = session.find("pods")
    query = {"labelSelector": selector_of(found)}
    items = session.http.get(resource.path(found.namespace), query).get("items") or []
    return [{"apiVersion": "v1", "kind": "Pod", **item} for item in items]


def first_pod(session: Session, found: Found) -> Found:
    pods = pods_of(session, found)
    if not pods:
        raise KubectlError("timed out waiting for the condition")
    pods.sort(key=_preference)
    pod = pods[0]
    return Found(session.find("pods"), found.namespace, pod["metadata"]["name"], pod)


def _preference(pod: Object) -> Any:
    """Scheduled, running and ready pods first, then those that have been so for longest."""
    status = pod.get("status") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    phase = {"Running": 0, "Pending": 2}.get(str(status.get("phase")), 1)
    return (
        not (pod.get("spec") or {}).get("nodeName"),
        phase,
        not ready,
        pod["metadata"].get("creationTimestamp") or "",
    )


def container_names(pod: Object) -> list[str]:
    spec = pod.get("spec") or {}
    return [
        c["name"] for field in ("containers", "initContainers", "ephemeralContainers") for c in spec.get(field) or ()
    ]


def container_of(session: Session, pod: Object, name: str, *, tell: bool = True) -> str:
    """The container that is meant: the named one, the annotated default, or the first. Raises KubectlError."""
    meta, names = pod["metadata"], container_names(pod)
    if name:
        if name not in names:
            raise KubectlError(f"container {name} not found in pod {meta['name']}")
        return name
    default = (meta.get("annotations") or {}).get(DEFAULT_CONTAINER)
    if default:
        if default in names:
            return str(default)
        session.say(f"Default container name {default!r} not found in pod {meta['name']}".replace("'", '"'))
    own = [container["name"] for container in pod["spec"].get("containers") or ()]
    if len(names) > 1 and tell:
        session.say(f'Defaulted container "{own[0]}" out of: {", ".join(_annotated_names(pod))}')
    return str(own[0])


def _annotated_names(pod: Object) -> list[str]:
    spec = pod["spec"]
    names = [container["name"] for container in spec.get("containers") or ()]
    names += [f"{container['name']} (init)" for container in spec.get("initContainers") or ()]
    names += [f"{container['name']} (ephem)" for container in spec.get("ephemeralContainers") or ()]
    return names
