"""What the generators of `kubectl create` share: their flags, and sending or printing what they made."""

from typing import Any

from wherry.cli.kubectl.errors import KubectlError, ServerError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import DRY_RUN, MANAGER, PRINTING, VALIDATE, Object, Session

SAVE_CONFIG = Flag("save-config", "", "bool", False, "Keep the configuration in the object's annotation, for apply.")
COMMON = (*PRINTING, DRY_RUN, MANAGER, VALIDATE, SAVE_CONFIG)


def name_of(session: Session) -> str:
    """The one argument: the name."""
    arguments = session.options.arguments
    before = arguments if session.options.dash_at < 0 else arguments[: session.options.dash_at]
    if len(before) != 1:
        raise UsageError(f"exactly one NAME is required, got {len(before)}")
    return before[0]


def command_of(session: Session) -> list[str]:
    """What stands after `--`, or after the name."""
    return session.options.arguments[1:] if session.options.arguments else []


def metadata(session: Session, name: str, *, namespaced: bool = True, labels: dict[str, str] | None = None) -> Object:
    meta: Object = {"creationTimestamp": None, "name": name}
    if namespaced and session.is_namespace_given:
        meta["namespace"] = session.namespace
    if labels:
        meta["labels"] = labels
    return meta


def finish(session: Session, plural: str, obj: Object, *, failed: str | None = None) -> int:
    """Create the object, or show it. `failed` is what the message of an error begins with."""
    from wherry.cli.kubectl import last_applied

    resource = session.find(plural)
    if session.options["save-config"]:
        obj = last_applied.annotated(obj)
    if session.dry_run != "client":
        namespace = session.namespace if resource.namespaced else None
        try:
            query = session.write_query("kubectl-create")
            obj = session.http.request("POST", resource.path(namespace), query, obj)
        except ServerError as error:
            if failed is None:
                raise
            raise KubectlError(f"{failed}{error}") from error
    session.done(resource, obj["metadata"]["name"], "created", obj)
    return 0


def literals(words: list[str], noun: str = "literal source") -> list[tuple[str, str]]:
    """`key=value` pairs."""
    pairs: list[tuple[str, str]] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise KubectlError(f"invalid {noun} {word}, expected key=value")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        pairs.append((key, value))
    return pairs


def read_file(path: str, noun: str = "") -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise KubectlError(f"error reading {path}: {(error.strerror or '').lower()}") from error


def file_sources(sources: list[str]) -> list[tuple[str, bytes]]:
    """Keys and contents of `--from-file`: `path`, `key=path`, or a folder."""
    import os

    found: list[tuple[str, bytes]] = []
    for source in sources:
        key, equals, path = source.partition("=")
        if not equals:
            key, path = os.path.basename(source.rstrip("/")), source
        elif not key:
            raise KubectlError(f"key name for file path {path} missing")
        elif not path:
            raise KubectlError(f"file path for key name {key} missing")
        if "=" in path:
            raise KubectlError("key names or file paths cannot contain '='")
        if os.path.isdir(path):
            if equals:
                raise KubectlError("cannot give a key name for a directory path")
            for entry in sorted(os.listdir(path)):
                whole = os.path.join(path, entry)
                if os.path.isfile(whole):
                    found.append((entry, read_file(whole)))
        else:
            found.append((key, read_file(path)))
    return found


def env_sources(paths: list[str]) -> list[tuple[str, str]]:
    """Pairs of `--from-env-file`; a bare name takes its value from our environment."""
    import os
    import re

    found: list[tuple[str, str]] = []
    for path in paths:
        for number, line in enumerate(read_file(path).decode().split("\n"), 1):
            line = line.lstrip(" \t\r").rstrip("\r")
            if not line or line.startswith("#"):
                continue
            key, equals, value = line.partition("=")
            if not re.fullmatch(r"[-._a-zA-Z][-._a-zA-Z0-9]*", key):
                raise KubectlError(
                    f'"{key}" is not a valid key name: a valid environment variable name must consist of '
                    "alphabetic characters, digits, '_', '-', or '.', and must not start with a digit "
                    f"(line {number})"
                )
            found.append((key, value if equals else os.environ.get(key, "")))
    return found


def hashed(obj: Object, kind: str) -> str:
    """The suffix of `--append-hash`: a hash of the content, without letters that could form words."""
    import hashlib
    import json

    parts: Any = {
        "kind": kind,
        "name": obj["metadata"]["name"],
        "data": obj.get("data") or "",
    }
    if kind == "Secret":
        parts["type"] = obj.get("type", "")
    if obj.get("binaryData"):
        parts["binaryData"] = obj["binaryData"]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return digest.translate(str.maketrans("013ae", "ghkmt"))
