"""Persistent volumes, claims, storage classes."""

from wherry.cli.kubectl.describing.pod_template import volume_source
from wherry.cli.kubectl.describing.writer import Object, Writer, events, label_text, since, time_of
from wherry.cli.kubectl.session import Session

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: list[str] | None) -> str:
    return ",".join(_MODES[mode] for mode in _MODES if mode in (modes or ()))


def _finalizers(meta: Object) -> str:
    return f"[{' '.join(meta.get('finalizers') or ())}]"


def _phase(meta: Object, status: Object) -> str:
    if meta.get("deletionTimestamp"):
        return f"Terminating (lasts {since(meta['deletionTimestamp'])})"
    return str(status.get("phase", ""))


def persistent_volume(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    out.field("Name", meta["name"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.field("Finalizers", _finalizers(meta))
    out.field("StorageClass", spec.get("storageClassName") or "")
    out.field("Status", _phase(meta, status))
    claim = spec.get("claimRef")
    out.field("Claim", f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "")
    out.field("Reclaim Policy", spec.get("persistentVolumeReclaimPolicy", ""))
    out.field("Access Modes", _modes(spec.get("accessModes")))
    if spec.get("volumeMode"):
        out.field("VolumeMode", spec["volumeMode"])
    out.field("Capacity", (spec.get("capacity") or {}).get("storage", "0"))
    _affinity(out, spec.get("nodeAffinity"))
    out.field("Message", status.get("message", ""))
    out.raw("Source:\n")
    volume_source(out, spec)
    events(out, found)


def _affinity(out: Writer, affinity: Object | None) -> None:
    if not affinity:
        out.field("Node Affinity", "<none>")
        return
    out.raw("Node Affinity:\t\n")
    terms = (affinity.get("required") or {}).get("nodeSelectorTerms") or []
    if not terms:
        out.field("Required Terms", "<none>", 1)
        return
    out.raw("  Required Terms:\t\n")
    for index, term in enumerate(terms):
        items = []
        for one in term.get("matchExpressions") or ():
            text = f"{one['key']} {str(one.get('operator', '')).lower()}"
            if one.get("values"):
                text += f" [{', '.join(one['values'])}]"
            items.append(text)
        out.below(f"  Term {index}", items, "  ", "\t")


def claim(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.field("StorageClass", spec.get("storageClassName") or "")
    out.field("Status", _phase(meta, status))
    out.field("Volume", spec.get("volumeName", ""))
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.field("Finalizers", _finalizers(meta))
    bound = bool(spec.get("volumeName"))
    out.field("Capacity", (status.get("capacity") or {}).get("storage", "0") if bound else "")
    out.field("Access Modes", _modes(status.get("accessModes")) if bound else "")
    if spec.get("volumeMode"):
        out.field("VolumeMode", spec["volumeMode"])
    source = spec.get("dataSource")
    if source:
        out.raw("DataSource:\n")
        if source.get("apiGroup"):
            out.field("APIGroup", source["apiGroup"], 1)
        out.field("Kind", source.get("kind", ""), 1)
        out.field("Name", source.get("name", ""), 1)
    out.below("Used By", _users(session, meta))
    if status.get("conditions"):
        out.raw("Conditions:\n")
        out.line(1, "Type\tStatus\tLastProbeTime\tLastTransitionTime\tReason\tMessage")
        out.line(1, "----\t------\t-----------------\t------------------\t------\t-------")
        for one in status["conditions"]:
            out.line(
                1,
                f"{one['type']} \t{one['status']} \t{time_of(one.get('lastProbeTime'))} "
                f"\t{time_of(one.get('lastTransitionTime'))} \t"
                f"{one.get('reason', '')} \t{one.get('message', '')}",
            )
    events(out, found)


def _users(session: Session, meta: Object) -> list[str]:
    names = []
    for pod in session.http.get(f"/api/v1/namespaces/{meta['namespace']}/pods").get("items") or ():
        for volume in (pod.get("spec") or {}).get("volumes") or ():
            if (volume.get("persistentVolumeClaim") or {}).get("claimName") == meta["name"]:
                names.append(pod["metadata"]["name"])
                break
    return sorted(names)


def storage_class(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta = obj["metadata"]
    out.field("Name", meta["name"])
    default = (meta.get("annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    out.field("IsDefaultClass", "Yes" if default else "No")
    out.field("Annotations", label_text(meta.get("annotations")))
    out.field("Provisioner", obj.get("provisioner", ""))
    out.field("Parameters", label_text(obj.get("parameters")))
    expansion = obj.get("allowVolumeExpansion")
    out.field("AllowVolumeExpansion", "<unset>" if expansion is None else "True" if expansion else "False")
    options = obj.get("mountOptions") or []
    if options:
        out.raw("MountOptions:\n")
        for option in options:
            out.line(1, option)
    else:
        out.field("MountOptions", "<none>")
    if obj.get("reclaimPolicy"):
        out.field("ReclaimPolicy", obj["reclaimPolicy"])
    if obj.get("volumeBindingMode"):
        out.field("VolumeBindingMode", obj["volumeBindingMode"])
    events(out, found)
