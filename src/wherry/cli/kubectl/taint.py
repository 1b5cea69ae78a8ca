"""`kubectl taint`."""

from typing import Any

from wherry.cli.kubectl.errors import KubectlError, UsageError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import STRATEGIC_PATCH
from wherry.cli.kubectl.selection import Target, fetch
from wherry.cli.kubectl.session import DRY_RUN, MANAGER, PRINTING, SELECTOR, VALIDATE, Session

HELP = "Update the taints on one or more nodes: `key=value:effect` adds, `key:effect-` or `key-` removes."
EXAMPLES = """
kubectl taint nodes foo dedicated=special-user:NoSchedule
kubectl taint nodes foo dedicated:NoSchedule-
"""
USAGE = "NODE NAME KEY_1=VAL_1:TAINT_EFFECT_1 ... KEY_N=VAL_N:TAINT_EFFECT_N"
FLAGS = (
    *PRINTING,
    SELECTOR,
    DRY_RUN,
    MANAGER,
    VALIDATE,
    Flag("all", "", "bool", False, "All nodes."),
    Flag("overwrite", "", "bool", False, "Allow taints that exist to be overwritten."),
)
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _is_change(word: str) -> bool:
    return "=" in word or word.endswith("-") or ":" in word


def run(session: Session) -> int:
    options = session.options
    words = options.arguments
    cut = next((index for index, word in enumerate(words) if index > 0 and _is_change(word)), len(words))
    resources, changes = words[:cut], words[cut:]
    if not resources:
        raise UsageError("one or more resources must be specified as <resource> <name> or <resource>/<name>")
    kind, slash, name = resources[0].partition("/")
    resource = session.find(kind)
    if resource.name != "nodes":
        raise KubectlError(f"invalid resource type {kind}, only node types are supported")
    names = ([name] if slash else []) + [word.partition("/")[2] or word for word in resources[1:]]
    if not changes:
        raise KubectlError("at least one taint update is required")
    if not names and not options["all"] and not options["selector"]:
        raise UsageError("at least one resource name must be specified since 'all' parameter is not set")
    new, removed = _parse(changes)
    errors: list[KubectlError] = []
    targets = [Target(resource, "", one) for one in names] or [Target(resource, "", "")]
    for node in fetch(session, targets, errors=errors):
        try:
            _taint(session, node, new, removed)
        except KubectlError as error:
            errors.append(error)
    raise_all(errors)
    return 0


def _parse(words: list[str]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    new: list[dict[str, str]] = []
    removed: list[dict[str, str]] = []
    for word in words:
        spec, colon, effect = word.partition(":")
        if word.endswith("-"):
            spec, effect = spec.removesuffix("-") if not colon else spec, effect.removesuffix("-")
            removed.append({"key": spec.partition("=")[0], "effect": effect})
        else:
            key, _, value = spec.partition("=")
            if not colon:
                raise KubectlError(f"unknown taint spec: {word}" if "=" not in word else f"invalid taint spec: {word}")
            new.append({"key": key, "value": value, "effect": effect})
        if effect and effect not in EFFECTS:
            raise KubectlError(f"invalid taint effect: {effect}, unsupported taint effect")
    return new, removed


def _taint(session: Session, node: Any, new: list[dict[str, str]], removed: list[dict[str, str]]) -> None:
    old: list[dict[str, str]] = (node.object.get("spec") or {}).get("taints") or []
    for taint in new:
        exists = any(o["key"] == taint["key"] and o["effect"] == taint["effect"] for o in old)
        if exists and not session.options["overwrite"]:
            raise KubectlError(
                f"node {node.name} already has {taint['key']} taint(s) with same effect(s) and --overwrite is false"
            )
    kept = [o for o in old if not any(o["key"] == t["key"] and o["effect"] == t["effect"] for t in new)]
    gone = []
    for wanted in removed:
        match = [o for o in kept if o["key"] == wanted["key"] and wanted["effect"] in ("", o["effect"])]
        if not match:
            shown = f"{wanted['key']}:{wanted['effect']}" if wanted["effect"] else wanted["key"]
            raise KubectlError(f'taint "{shown}" not found')
        gone += match
    kept = [o for o in kept if o not in gone]
    taints = [{k: v for k, v in t.items() if v or k != "value"} for t in new] + kept
    done = "untainted" if removed and not new else "tainted" if new and not removed else "modified"
    result = node.object
    if session.dry_run != "client":
        query = session.write_query("kubectl-taint", validate=False)
        patch = {
            "spec": {"taints": taints or None},
            "metadata": {"resourceVersion": node.object["metadata"]["resourceVersion"]},
        }
        body = {**patch, "spec": {"taints": [{"$patch": "replace"}, *taints] if taints else None}}
        result = session.http.request("PATCH", node.path, query, body, content_type=STRATEGIC_PATCH)
    session.done(node.resource, node.name, done, result, dry=session.dry_run if session.dry_run == "client" else "none")
