"""DELETE of one object: grace, finalizers and propagation, or at once."""

from datetime import UTC, datetime

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call, DeleteOptions
from wherry.kube_api.objects import Entry
from wherry.kube_api.pipeline import removable
from wherry.schema import errors
from wherry.schema.resource import Object

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


async def delete(api: Api, call: Call, options: DeleteOptions) -> tuple[Entry, bool]:
    """Delete; returns the last state and whether the object is gone (else its deletion has begun).

    Raises NotFound, Conflict (preconditions), Forbidden, BadRequest.
    """
    resource, name = call.resource, call.name or ""
    _check_options(options)
    strategy = api.strategy(resource)
    checked = False

    async def change(entry: Entry | None) -> Object | None:
        nonlocal checked
        if entry is None:
            raise api.not_found(resource, name)
        obj = entry.decode()
        _check_preconditions(call, options, obj)
        if not checked:
            await api.admission.validate_delete(api, call, obj)
            checked = True
        return mark(api, call, options, obj)

    stored = api.stored_as(resource)
    if call.dry_run:
        entry = await api.read(resource, call.namespace, name)
        new = await change(entry)
        assert entry is not None
        return api.present(resource, entry), new is not None and removable(new)
    del strategy, stored
    entry, gone = await api.modify(api.stored_as(resource), call.namespace, name, change, removable=removable)
    return api.present(resource, entry), gone


def _check_options(options: DeleteOptions) -> None:
    policy = options.propagation_policy
    if policy is not None and options.orphan_dependents is not None:
        raise errors.Invalid(
            'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: '
            f'"{policy}": orphanDependents and deletionPropagation cannot be both set'
        )
    if policy not in (None, "Foreground", "Background", "Orphan"):
        raise errors.Invalid(
            f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "{policy}": '
            'supported values: "Background", "Foreground", "Orphan"'
        )


def _check_preconditions(call: Call, options: DeleteOptions, obj: Object) -> None:
    metadata = obj["metadata"]
    why = ""
    if options.uid is not None and options.uid != metadata["uid"]:
        why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {metadata['uid']}"
    elif options.resource_version is not None and options.resource_version != metadata["resourceVersion"]:
        why = (
            f"Precondition failed: ResourceVersion in precondition: {options.resource_version}, "
            f"ResourceVersion in object meta: {metadata['resourceVersion']}"
        )
    if why:
        raise errors.conflict(call.resource.group, call.resource.plural, metadata["name"], why)


def mark(api: Api, call: Call, options: DeleteOptions, obj: Object) -> Object | None:
    """The object with its deletion begun (`removable` tells whether that is all); None when it had begun before and
    this request changes nothing."""
    strategy = api.strategy(call.resource)
    metadata = obj["metadata"]
    grace = strategy.begin_delete(api, obj, options.grace_period_seconds)
    finalizers = list(metadata.get("finalizers") or ())
    wanted = _finalizers(finalizers, options, strategy.default_propagation)
    begun = bool(metadata.get("deletionTimestamp"))
    if begun:
        left = metadata.get("deletionGracePeriodSeconds", 0)
        shorter = grace < left
        if not shorter and wanted == finalizers:
            return obj if removable(obj) else None
        if shorter:
            start = _seconds(metadata["deletionTimestamp"]) - left
            metadata["deletionTimestamp"] = _text(start + grace)
            metadata["deletionGracePeriodSeconds"] = grace
    else:
        metadata["deletionTimestamp"] = _text(int(api.now()) + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        if "generation" in metadata:
            metadata["generation"] += 1
        if call.resource.plural == "namespaces" and not call.resource.group:
            obj.setdefault("status", {})["phase"] = "Terminating"
    if wanted:
        metadata["finalizers"] = wanted
    else:
        metadata.pop("finalizers", None)
    return obj


def _finalizers(present: list[str], options: DeleteOptions, default: str) -> list[str]:
    """The finalizers that the propagation policy asks for; those that a client set itself stay."""
    policy = options.propagation_policy
    if policy is None and options.orphan_dependents is not None:
        policy = "Orphan" if options.orphan_dependents else "Background"
    if policy is None:
        if FOREGROUND in present or ORPHAN in present:
            return present
        policy = default
    kept = [one for one in present if one not in (FOREGROUND, ORPHAN)]
    if policy == "Foreground":
        kept.append(FOREGROUND)
    elif policy == "Orphan":
        kept.append(ORPHAN)
    return kept


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def _text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
