"""What the verbs of `kubectl set` share: finding the pod spec of any kind that has one, and sending the change."""

import copy
import fnmatch
from collections.abc import Callable
from typing import Any

from wherry.cli.kubectl.errors import KubectlError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import STRATEGIC_PATCH
from wherry.cli.kubectl.selection import Found, load, target_of
from wherry.cli.kubectl.session import DRY_RUN, FILES, MANAGER, PRINTING, SELECTOR, Object, Session

FLAGS = (
    *FILES,
    *PRINTING,
    SELECTOR,
    DRY_RUN,
    MANAGER,
    Flag("all", "", "bool", False, "Select all objects of the given types in the namespace."),
    Flag("local", "", "bool", False, "Change the files' objects without asking the server."),
)
CONTAINERS = Flag("containers", "c", "str", "*", "The names of the containers to change; wildcards are allowed.")


def pod_spec(obj: Object) -> Object | None:
    """The pod spec inside an object; None when it has none."""
    spec: Any = obj.get("spec") or {}
    if obj.get("kind") == "Pod":
        return dict(spec) and spec
    if obj.get("kind") == "CronJob":
        spec = ((spec.get("jobTemplate") or {}).get("spec")) or {}
    template = spec.get("template")
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        return None
    found: Object = template["spec"]
    return found


def chosen(spec: Object, pattern: str) -> list[Object]:
    """The containers whose names match; all kinds of them, init containers last."""
    containers = [*(spec.get("containers") or ())]
    return [container for container in containers if fnmatch.fnmatchcase(container["name"], pattern)]


def objects(session: Session, arguments: list[str]) -> list[Found]:
    """What the command line selects."""
    if session.options["local"]:
        from wherry.cli.kubectl.manifests import read

        targets = [target_of(session, document) for document in read(session.options)]
        return [Found(t.resource, t.namespace, t.name, t.document.object, t.document) for t in targets if t.document]
    return load(session, arguments)


def change(session: Session, found: list[Found], edit: Callable[[Found, Object], None], done: str) -> int:
    """Run `edit` on a copy of each object and patch what it changed. Nothing is said where nothing changed."""
    from wherry.cli.kubectl.apply import definition
    from wherry.cli.kubectl.three_way import two_way

    errors: list[KubectlError] = []
    for one in found:
        new = copy.deepcopy(one.object)
        try:
            edit(one, new)
            kind = definition(one.resource)
            patch = two_way(one.object, new, kind)
            result = new
            local = session.options["local"] or session.dry_run == "client"
            if not patch and not local and not session.options["output"]:
                continue
            if patch and not local:
                query = session.write_query("kubectl-set", validate=False)
                result = session.http.request("PATCH", one.path, query, patch, content_type=STRATEGIC_PATCH)
            session.done(one.resource, one.name, done, result)
        except KubectlError as error:
            errors.append(error)
    raise_all(errors)
    return 0


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Resources first, then `key=value` words."""
    for index, word in enumerate(arguments):
        if "=" in word or (word.endswith("-") and index):
            return arguments[:index], arguments[index:]
    return arguments, []
