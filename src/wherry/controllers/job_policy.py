"""A Job's policies: what a failed pod means (podFailurePolicy), and when enough has succeeded (successPolicy).

https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
"""

from dataclasses import dataclass
from typing import Any

from wherry.schema.resource import Object


@dataclass(frozen=True)
class Verdict:
    """`action` is FailJob, FailIndex, Ignore or Count."""

    action: str = "Count"
    message: str = ""


def judge(policy: Object | None, pod: Object) -> Verdict:
    """The first rule that matches the failed pod."""
    for number, rule in enumerate((policy or {}).get("rules") or ()):
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if rule.get("onExitCodes"):
            hit = _exit_code(rule["onExitCodes"], pod)
            if hit is not None:
                container, code = hit
                message = (
                    f"Container {container} for pod {name} failed with exit code {code} "
                    f"matching {rule['action']} rule at index {number}"
                )
                return Verdict(rule["action"], message)
        for pattern in rule.get("onPodConditions") or ():
            for condition in (pod.get("status") or {}).get("conditions") or ():
                if condition["type"] == pattern["type"] and condition["status"] == pattern.get("status", "True"):
                    message = (
                        f"Pod {name} has condition {pattern['type']} matching {rule['action']} rule at index {number}"
                    )
                    return Verdict(rule["action"], message)
    return Verdict()


def _exit_code(requirement: Object, pod: Object) -> tuple[str, int] | None:
    status = pod.get("status") or {}
    for one in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        if requirement.get("containerName") not in (None, one["name"]):
            continue
        terminated: dict[str, Any] = (one.get("state") or {}).get("terminated") or {}
        code = terminated.get("exitCode", 0)
        if code == 0:
            continue
        if (code in requirement["values"]) == (requirement["operator"] == "In"):
            return str(one["name"]), int(code)
    return None


def success_met(policy: Object | None, done: set[int]) -> str:
    """The message of the first rule that is fulfilled, "" if none is."""
    for number, rule in enumerate((policy or {}).get("rules") or ()):
        wanted = _indexes(rule["succeededIndexes"]) if rule.get("succeededIndexes") else None
        reached = done if wanted is None else done & wanted
        count = rule.get("succeededCount")
        if (count is not None and len(reached) >= count) or (count is None and wanted is not None and wanted <= done):
            return f"Matched rules at index {number}"
    return ""


def _indexes(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
