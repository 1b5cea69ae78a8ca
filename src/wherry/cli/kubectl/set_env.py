"""`kubectl set env`."""

import sys
from typing import Any

from wherry.cli.kubectl import pod_specs
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.selection import Found
from wherry.cli.kubectl.session import Object, Session

HELP = "Update environment variables on a pod template."
EXAMPLES = """
kubectl set env deployment/registry STORAGE_DIR=/local
kubectl set env deployment/registry --list
kubectl set env deployment/registry --from=configmap/settings --prefix=APP_
kubectl set env deployment/registry STORAGE_DIR-
"""
USAGE = "RESOURCE/NAME KEY_1=VAL_1 ... KEY_N=VAL_N"
FLAGS = (
    *pod_specs.FLAGS,
    pod_specs.CONTAINERS,
    Flag("env", "e", "array", (), "A variable, as key=value."),
    Flag("from", "", "str", "", "A config map or secret to take the variables from, as configmap/name."),
    Flag("keys", "", "list", (), "With --from: only these keys."),
    Flag("list", "", "bool", False, "Show the variables instead."),
    Flag("overwrite", "", "bool", True, "Allow variables that exist to be overwritten."),
    Flag("prefix", "", "str", "", "With --from: what the variables' names begin with."),
    Flag("resolve", "", "bool", False, "With --list: show the values of references."),
)


def run(session: Session) -> int:
    options = session.options
    resources, words = pod_specs.split(options.arguments)
    if not resources and not options["filename"]:
        raise KubectlError("one or more resources must be specified as <resource> <name> or <resource>/<name>")
    new: list[Object] = []
    removed: list[str] = []
    for word in [*words, *options["env"]]:
        if word == "-":
            for line in sys.stdin.read().splitlines():
                if "=" in line:
                    key, _, value = line.partition("=")
                    new.append({"name": key, "value": value})
        elif "=" in word:
            key, _, value = word.partition("=")
            new.append({"name": key, "value": value})
        elif word.endswith("-"):
            removed.append(word[:-1])
    if options["from"]:
        new += _references(session)
    if not new and not removed and not options["list"]:
        return 0
    found = pod_specs.objects(session, resources)
    if options["list"]:
        for one in found:
            _list(session, one)
        return 0

    def edit(one: Found, obj: Object) -> None:
        spec = pod_specs.pod_spec(obj)
        if spec is None:
            raise KubectlError(f"the object is not a pod or does not have a pod template: {obj.get('kind')}")
        containers = pod_specs.chosen(spec, options["containers"])
        if not containers:
            raise KubectlError(
                f"{one.resource.name}/{one.name} does not have any containers matching "
                f"{options['containers']!r}".replace("'", '"')
            )
        for container in containers:
            _update(container, new, removed, options["overwrite"])

    return pod_specs.change(session, found, edit, "env updated")


def _update(container: Object, new: list[Object], removed: list[str], overwrite: bool) -> None:
    env: list[Object] = list(container.get("env") or ())
    for variable in new:
        at = next((index for index, one in enumerate(env) if one["name"] == variable["name"]), None)
        if at is None:
            env.append(dict(variable))
        elif not overwrite:
            raise KubectlError(
                f"'{variable['name']}' already has a value ({env[at].get('value', '')}), and --overwrite is false"
            )
        else:
            env[at] = dict(variable)
    env = [one for one in env if one["name"] not in removed]
    if env:
        container["env"] = env
    else:
        container.pop("env", None)


def _references(session: Session) -> list[Object]:
    kind, slash, name = session.options["from"].partition("/")
    resource = session.find(kind)
    if not slash or resource.kind not in ("ConfigMap", "Secret"):
        raise KubectlError(f"unsupported resource specified in --from: {kind}")
    source = session.http.get(resource.path(session.namespace, name))
    field = "configMapKeyRef" if resource.kind == "ConfigMap" else "secretKeyRef"
    found = []
    for key in sorted(source.get("data") or {}):
        if session.options["keys"] and key not in session.options["keys"]:
            continue
        variable = "".join(c if c.isalnum() else "_" for c in session.options["prefix"] + key).upper()
        found.append({"name": variable, "valueFrom": {field: {"key": key, "name": name}}})
    return found


def _list(session: Session, one: Found) -> None:
    spec = pod_specs.pod_spec(one.object)
    if spec is None:
        raise KubectlError(f"the object is not a pod or does not have a pod template: {one.object.get('kind')}")
    for container in pod_specs.chosen(spec, session.options["containers"]):
        print(f"# {one.resource.kind} {one.name}, container {container['name']}")
        for variable in container.get("env") or ():
            source = variable.get("valueFrom")
            if not source:
                print(f"{variable['name']}={variable.get('value', '')}")
            elif session.options["resolve"] and ("configMapKeyRef" in source or "secretKeyRef" in source):
                print(f"{variable['name']}={_resolve(session, source)}")
            else:
                print(f"# {variable['name']} from {_told(source)}")


def _told(source: dict[str, Any]) -> str:
    if "configMapKeyRef" in source:
        return f"configmap {source['configMapKeyRef']['name']}, key {source['configMapKeyRef']['key']}"
    if "secretKeyRef" in source:
        return f"secret {source['secretKeyRef']['name']}, key {source['secretKeyRef']['key']}"
    if "fieldRef" in source:
        return f"field path {source['fieldRef']['fieldPath']}"
    reference = source.get("resourceFieldRef") or {}
    prefix = f"{reference['containerName']}/" if reference.get("containerName") else ""
    return f"resource field {prefix}{reference.get('resource', '')}"


def _resolve(session: Session, source: dict[str, Any]) -> str:
    import base64

    if "configMapKeyRef" in source:
        reference = source["configMapKeyRef"]
        obj = session.http.get(session.find("configmaps").path(session.namespace, reference["name"]))
        return str((obj.get("data") or {}).get(reference["key"], ""))
    reference = source["secretKeyRef"]
    obj = session.http.get(session.find("secrets").path(session.namespace, reference["name"]))
    return base64.b64decode((obj.get("data") or {}).get(reference["key"], "")).decode(errors="replace")
