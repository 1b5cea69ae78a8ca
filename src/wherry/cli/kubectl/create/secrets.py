"""`kubectl create secret generic`, `tls` and `docker-registry`."""

import base64
import json
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
from wherry.cli.kubectl.create.configmap import check_key
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Create a secret: generic from files and literals, tls from a key pair, docker-registry from a login."
EXAMPLES = """
kubectl create secret generic db --from-literal=username=admin --from-literal=password=secret
kubectl create secret tls site --cert=tls.crt --key=tls.key
kubectl create secret docker-registry hub --docker-username=me --docker-password=secret
"""
USAGE = "NAME [--type=string] [--from-file=[key=]source] [--from-literal=key1=value1]"
FLAGS = (
    *COMMON,
    Flag("from-file", "", "array", (), "A file or directory of keys and values; `key=path` names the key."),
    Flag("from-literal", "", "array", (), "A key and its value."),
    Flag("from-env-file", "", "array", (), "A file with lines of key=value."),
    Flag("type", "", "str", "", "The type of a generic secret."),
    Flag("append-hash", "", "bool", False, "Append a hash of the content to the name."),
    Flag("cert", "", "str", "", "tls: path to the PEM certificate."),
    Flag("key", "", "str", "", "tls: path to the private key."),
    Flag("docker-username", "", "str", "", "docker-registry: the user."),
    Flag("docker-password", "", "str", "", "docker-registry: the password."),
    Flag("docker-email", "", "str", "", "docker-registry: the e-mail address."),
    Flag("docker-server", "", "str", "https://index.docker.io/v1/", "docker-registry: the registry."),
)


def run(session: Session) -> int:
    options = session.options
    name = name_of(session)
    kind = session.command.split()[-1]
    secret_type = ""
    if kind == "tls":
        secret_type, data = "kubernetes.io/tls", _tls(session)
    elif kind == "docker-registry":
        secret_type, data = "kubernetes.io/dockerconfigjson", _docker(session)
    else:
        secret_type, data = options["type"], _generic(session)
    obj: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata(session, name)}
    if data:
        obj["data"] = {key: base64.b64encode(value).decode() for key, value in data.items()}
    if secret_type:
        obj["type"] = secret_type
    if options["append-hash"]:
        obj["metadata"]["name"] = f"{name}-{hashed(obj, 'Secret')}"
    return finish(session, "secrets", obj, failed="failed to create secret ")


def _generic(session: Session) -> dict[str, bytes]:
    options = session.options
    if options["from-env-file"] and (options["from-file"] or options["from-literal"]):
        raise KubectlError("from-env-file cannot be combined with from-file or from-literal")
    data: dict[str, bytes] = {}
    pairs = [*file_sources(options["from-file"])]
    pairs += [(key, text.encode()) for key, text in literals(options["from-literal"])]
    pairs += [(key, text.encode()) for key, text in env_sources(options["from-env-file"])]
    for key, value in pairs:
        check_key(key, "is not valid key name for a Secret")
        if key in data:
            raise KubectlError(f"cannot add key {key}, another key by that name already exists")
        data[key] = value
    return data


def _tls(session: Session) -> dict[str, bytes]:
    options = session.options
    if not options["cert"] or not options["key"]:
        raise KubectlError("key and cert must be specified")
    data: dict[str, bytes] = {}
    for name, flag in (("tls.crt", "cert"), ("tls.key", "key")):
        path = options[flag]
        try:
            with open(path, "rb") as file:
                data[name] = file.read()
        except OSError as error:
            raise KubectlError(f"Cannot read file {path}, open {path}: {(error.strerror or '').lower()}") from error
    _check_pair(options["cert"], options["key"])
    return data


def _check_pair(cert: str, key: str) -> None:
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except ssl.SSLError as error:
        why = (
            "private key does not match public key"
            if "MISMATCH" in str(error)
            else "failed to find any PEM data in certificate input"
        )
        raise KubectlError(f"tls: {why}") from error


def _docker(session: Session) -> dict[str, bytes]:
    options = session.options
    if options["from-file"]:
        path = options["from-file"][0]
        pairs = file_sources([path if "=" in path else f".dockerconfigjson={path}"])
        return dict(pairs)
    if not options["docker-username"] or not options["docker-password"] or not options["docker-server"]:
        raise KubectlError(
            "either --from-file or the combination of --docker-username, --docker-password and "
            "--docker-server is required"
        )
    user, password = options["docker-username"], options["docker-password"]
    login = {"username": user, "password": password}
    if options["docker-email"]:
        login["email"] = options["docker-email"]
    login["auth"] = base64.b64encode(f"{user}:{password}".encode()).decode()
    text = json.dumps({"auths": {options["docker-server"]: login}}, separators=(",", ":"))
    return {".dockerconfigjson": text.encode()}
