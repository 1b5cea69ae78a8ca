"""`kubectl rollout restart`, `pause` and `resume`."""

import time
from typing import Any

from wherry.cli.kubectl.errors import KubectlError, raise_all
from wherry.cli.kubectl.http import STRATEGIC_PATCH
from wherry.cli.kubectl.selection import Found, load
from wherry.cli.kubectl.session import FILES, MANAGER, PRINTING, SELECTOR, Session

HELP = "Restart a rollout, mark it as paused, or resume it."
USAGE = "RESOURCE"
FLAGS = (*FILES, *PRINTING, SELECTOR, MANAGER)
_DONE = {"restart": "restarted", "pause": "paused", "resume": "resumed"}


def run(session: Session) -> int:
    options = session.options
    verb = session.command.split()[-1]
    if not options.arguments and not options["filename"]:
        raise KubectlError("required resource not specified")
    errors: list[KubectlError] = []
    found = load(session, errors=errors, all_of_type=True)
    if not found and not errors:
        session.say(f"No resources found in {session.namespace} namespace.")
    for one in found:
        try:
            query = session.write_query("kubectl-rollout", validate=False)
            patch = _patch(one, verb)
            result = session.http.request("PATCH", one.path, query, patch, content_type=STRATEGIC_PATCH)
            session.done(one.resource, one.name, _DONE[verb], result)
        except KubectlError as error:
            errors.append(error)
    raise_all(errors)
    return 0


def _patch(one: Found, verb: str) -> dict[str, Any]:
    kind, spec, label = one.resource.kind, one.object.get("spec") or {}, f"{one.resource.name}.{one.resource.group}"
    shown = f'{label} "{one.name}"'
    if verb == "restart":
        if kind not in ("Deployment", "DaemonSet", "StatefulSet"):
            raise KubectlError(
                f"{shown if one.resource.group else f'{one.resource.name} {chr(34)}{one.name}{chr(34)}'} "
                "restarting is not supported"
            )
        if kind == "Deployment" and spec.get("paused"):
            raise KubectlError(f"{shown} can't restart paused deployment (run rollout resume first)")
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime()) + _zone()
        return {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}}
    if kind != "Deployment":
        noun = "pausing" if verb == "pause" else "resuming"
        raise KubectlError(f"{shown} {noun} is not supported")
    paused = bool(spec.get("paused"))
    if verb == "pause":
        if paused:
            raise KubectlError(f"{shown} is already paused")
        return {"spec": {"paused": True}}
    if not paused:
        raise KubectlError(f"{shown} is not paused")
    return {"spec": {"paused": None}}


def _zone() -> str:
    text = time.strftime("%z")
    return "Z" if text == "+0000" else f"{text[:3]}:{text[3:]}"
