"""PodSecurity: the standards that a namespace's labels ask for are enforced on pods and warned of on their owners.

https://kubernetes.io/docs/concepts/security/pod-security-admission/
"""

from typing import TYPE_CHECKING

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.call import Call
from wherry.schema import builtin, errors, pod_security
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

PREFIX = "pod-security.kubernetes.io/"
MODES = ("enforce", "audit", "warn")
TEMPLATES = {
    builtin.DEPLOYMENTS: ("spec", "template"),
    builtin.REPLICA_SETS: ("spec", "template"),
    builtin.STATEFUL_SETS: ("spec", "template"),
    builtin.DAEMON_SETS: ("spec", "template"),
    builtin.REPLICATION_CONTROLLERS: ("spec", "template"),
    builtin.JOBS: ("spec", "template"),
    builtin.CRON_JOBS: ("spec", "jobTemplate", "spec", "template"),
    builtin.POD_TEMPLATES: ("template",),
}
MAX_NAMED = 3


class PodSecurity(Plugin):
    """See the module."""

    async def validate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> None:
        if call.resource == builtin.NAMESPACES:
            if not call.subresource:
                self._check_namespace(api, call, obj, old)
            return
        if call.namespace is None or call.subresource not in ("", "ephemeralcontainers"):
            return
        if call.resource == builtin.PODS:
            if old is None or _security_changed(obj, old):
                self._check_pod(api, call, obj)
        elif call.resource in TEMPLATES:
            template = obj
            for field in TEMPLATES[call.resource]:
                template = template.get(field) or {}
            level = _levels(api, call.namespace).get("warn")
            if level:
                self._warn(call, level, template.get("metadata") or {}, template.get("spec") or {})

    def _check_pod(self, api: "Api", call: Call, obj: Object) -> None:
        levels = _levels(api, call.namespace or "")
        enforced = levels.get("enforce")
        if enforced:
            found = pod_security.violations(enforced[0], obj["metadata"], obj.get("spec") or {})
            if found:
                name = obj["metadata"]["name"]
                said = f'violates PodSecurity "{enforced[0]}:{enforced[1]}": {", ".join(found)}'
                raise errors.Forbidden(
                    f'pods "{name}" is forbidden: {said}',
                    details={"name": name, "kind": "pods"},
                )
        if "warn" in levels:
            self._warn(call, levels["warn"], obj["metadata"], obj.get("spec") or {})

    def _warn(self, call: Call, level: tuple[str, str], metadata: Object, spec: Object) -> None:
        found = pod_security.violations(level[0], metadata, spec)
        if found:
            call.warn(f'would violate PodSecurity "{level[0]}:{level[1]}": {", ".join(found)}')

    def _check_namespace(self, api: "Api", call: Call, obj: Object, old: Object | None) -> None:
        labels = obj["metadata"].get("labels") or {}
        causes = []
        for mode in MODES:
            level, version = labels.get(PREFIX + mode), labels.get(f"{PREFIX}{mode}-version")
            if level is not None and level not in pod_security.LEVELS:
                causes.append(
                    errors.Cause(
                        "FieldValueInvalid",
                        f'Invalid value: "{level}": must be one of {", ".join(pod_security.LEVELS)}',
                        f"metadata.labels[{PREFIX}{mode}]",
                    )
                )
            if version is not None and not _is_version(version):
                causes.append(
                    errors.Cause(
                        "FieldValueInvalid",
                        f'Invalid value: "{version}": must be "latest" or "v1.x"',
                        f"metadata.labels[{PREFIX}{mode}-version]",
                    )
                )
        before = {} if old is None else old["metadata"].get("labels") or {}
        if causes and any(labels.get(key) != before.get(key) for key in labels if key.startswith(PREFIX)):
            raise errors.invalid("", "Namespace", obj["metadata"]["name"], causes)
        enforced = labels.get(f"{PREFIX}enforce")
        if old is not None and not causes and enforced and enforced != before.get(f"{PREFIX}enforce"):
            self._warn_of_existing(api, call, obj["metadata"]["name"], enforced, _version(labels, "enforce"))

    def _warn_of_existing(self, api: "Api", call: Call, name: str, level: str, version: str) -> None:
        """Pods that are there already stay; their kinds of trouble are told, each with the pods that have it."""
        by_reason: dict[str, list[str]] = {}
        for entry in api.cache_of(builtin.PODS).entries(name):
            pod = entry.shared()
            found = pod_security.violations(level, pod["metadata"], pod.get("spec") or {})
            if found:
                reasons = ", ".join(one.partition(" (")[0] for one in found)
                by_reason.setdefault(reasons, []).append(entry.name)
        if by_reason:
            call.warn(
                f'existing pods in namespace "{name}" violate the new PodSecurity enforce level "{level}:{version}"'
            )
        for reasons, pods in by_reason.items():
            more = len(pods) - 1
            others = "" if not more else f" (and {more} other pod{'s' if more > 1 else ''})"
            call.warn(f"{pods[0]}{others}: {reasons}")


def _levels(api: "Api", namespace: str) -> dict[str, tuple[str, str]]:
    """mode -> (level, version) of a namespace; modes whose level is privileged are left out."""
    entry = api.cached(builtin.NAMESPACES, None, namespace)
    labels = (entry.shared()["metadata"].get("labels") or {}) if entry is not None else {}
    found = {}
    for mode in MODES:
        level = labels.get(PREFIX + mode)
        if level in pod_security.LEVELS and level != pod_security.PRIVILEGED:
            found[mode] = (level, _version(labels, mode))
    return found


def _version(labels: Object, mode: str) -> str:
    return str(labels.get(f"{PREFIX}{mode}-version") or "latest")


def _is_version(text: str) -> bool:
    return text == "latest" or (text.startswith("v1.") and text[3:].isdecimal())


def _security_changed(obj: Object, old: Object) -> bool:
    """Updates of a pod that leave all that the standards look at as it was are let through."""
    return any(
        [_image_free(one) for one in (obj.get("spec") or {}).get(field) or ()]
        != [_image_free(one) for one in (old.get("spec") or {}).get(field) or ()]
        for field in ("initContainers", "containers", "ephemeralContainers")
    )


def _image_free(container: Object) -> Object:
    return {key: value for key, value in container.items() if key != "image"}
