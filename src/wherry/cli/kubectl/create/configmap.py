"""`kubectl create configmap`."""

import base64
import re
from typing import Any

from wherry.cli.kubectl.create.common import (
    COMMON,
    env_sources,
    file_sources,
    finish,
    hashed,
    literals,
    metadata,
    name_of,
)
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Create a config map based on a file, directory, or specified literal value."
EXAMPLES = """
kubectl create configmap settings --from-literal=key1=one --from-literal=key2=two
kubectl create configmap files --from-file=path/to/dir --from-file=name=path/to/file
"""
USAGE = "NAME [--from-file=[key=]source] [--from-literal=key1=value1]"
FLAGS = (
    *COMMON,
    Flag("from-file", "", "array", (), "A file or directory of keys and values; `key=path` names the key."),
    Flag("from-literal", "", "array", (), "A key and its value."),
    Flag("from-env-file", "", "array", (), "A file with lines of key=value."),
    Flag("append-hash", "", "bool", False, "Append a hash of the content to the name."),
)


def check_key(key: str, told: str) -> None:
    if not re.fullmatch(r"[-._a-zA-Z0-9]+", key) or key in (".", ".."):
        raise KubectlError(
            f"\"{key}\" {told} a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
            "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
        )


def run(session: Session) -> int:
    options = session.options
    name = name_of(session)
    if options["from-env-file"] and (options["from-file"] or options["from-literal"]):
        raise KubectlError("from-env-file cannot be combined with from-file or from-literal")
    data: dict[str, str] = {}
    binary: dict[str, str] = {}

    def add(key: str, value: str | bytes) -> None:
        check_key(key, "is not a valid key name for a ConfigMap:")
        if key in data or key in binary:
            where = "Data" if key in data else "BinaryData"
            raise KubectlError(
                f'cannot add key "{key}", another key by that name already exists in {where} for ConfigMap "{name}"'
            )
        if isinstance(value, str):
            data[key] = value
            return
        try:
            data[key] = value.decode()
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(value).decode()

    for key, content in file_sources(options["from-file"]):
        add(key, content)
    for key, text in (*literals(options["from-literal"]), *env_sources(options["from-env-file"])):
        add(key, text)
    obj: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(session, name)}
    if data:
        obj["data"] = data
    if binary:
        obj["binaryData"] = binary
    if options["append-hash"]:
        obj["metadata"]["name"] = f"{name}-{hashed(obj, 'ConfigMap')}"
    return finish(session, "configmaps", obj, failed="failed to create configmap: ")
