"""`docker build`'s --secret, --build-context, --output and their kind: what goes beyond Docker's own build API."""

from __future__ import annotations

import os
import sys
import tempfile

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.image.context import Context
from wherry.docker_api.build_request import Wishes

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import BinaryIO

    from wherry.cli.docker.flags import Flags

_MAX_SECRET = 500 << 10
_STORE = ("image", "registry")
_OPTIONS = {
    "image": ("type", "name", "push"),
    "registry": ("type", "name"),
    "docker": ("type", "dest", "name"),
}
_TITLES = {
    "local": ("exporting to client directory", "copying files"),
    "tar": ("exporting to client tarball", "sending tarball"),
    "oci": ("exporting to oci image format", "sending tarball"),
    "docker": ("exporting to docker image format", "sending tarball"),
}


class Wanted:
    """What the flags ask for: `wishes` for the engine, `destinations` for its archives, further tags, a push."""

    def __init__(self, flags: Flags) -> None:
        """CliError for what cannot be read."""
        self.wishes = Wishes()
        self.destinations: list[Destination] = []
        self.tags: list[str] = list(flags["tag"])
        self.push: bool = flags["push"]
        in_store = not flags["output"] or flags["load"] or self.push
        for text in flags["secret"]:
            name, content = read_secret(text)
            self.wishes.secrets[name] = content
        for text in flags["build-context"]:
            name, given = read_context(text)
            self.wishes.contexts[name] = given
        for text in flags["output"]:
            in_store |= self._output(text)
        if sum(one.path == "-" for one in self.destinations) > 1:
            raise CliError("ERROR: only one output can go to standard output")
        self.wishes.outputs = ["tar" if one.kind == "local" else one.kind for one in self.destinations]
        self.wishes.no_cache_filter = flags["no-cache-filter"]
        self.wishes.keep = in_store
        self.wishes.check = flags["check"]

    def _output(self, text: str) -> bool:
        """Whether it is the engine's store."""
        values = read_output(text)
        kind = values["type"]
        if kind in _STORE or (kind == "docker" and not values.get("dest")):
            self.tags += [name for name in values.get("name", "").split(",") if name]
            self.push |= kind == "registry" or values.get("push", "").lower() in ("true", "1")
            return True
        self.destinations.append(Destination(kind, values.get("dest", "")))
        return False


def fields_of(text: str, what: str) -> dict[str, str]:
    """`a=1,"b=2,3"` as a dictionary. CliError for a field without a value."""
    import csv

    found = {}
    for field in next(csv.reader([text]), []):
        key, equals, value = field.partition("=")
        if not equals:
            raise CliError(f"ERROR: invalid {what} {field}: expected key=value")
        found[key.strip().lower()] = value
    return found


def read_secret(text: str) -> tuple[str, bytes]:
    """`id=NAME[,src=FILE|,env=VARIABLE]`; without a source the variable or the file of that name. CliError."""
    values = fields_of(text, "secret")
    kind = values.pop("type", "")
    name = values.pop("id", "")
    path = values.pop("source", "") or values.pop("src", "")
    variable = values.pop("env", "")
    if kind not in ("", "file", "env"):
        raise CliError(f'ERROR: unsupported secret type "{kind}"')
    if values:
        raise CliError(f"ERROR: unexpected key '{next(iter(values))}' in '{text}'")
    if not name:
        raise CliError("ERROR: secret missing ID")
    if kind == "env" and not variable:
        path, variable = "", path or name
    if not path and not variable:
        path, variable = ("", name) if name in os.environ else (name, "")
    if variable:
        content = os.environb.get(os.fsencode(variable), b"")
    else:
        try:
            with open(os.path.expanduser(path), "rb") as file:
                content = file.read(_MAX_SECRET + 1)
        except OSError as error:
            raise CliError(f"ERROR: failed to stat {path}: {(error.strerror or '').lower()}") from None
    if len(content) > _MAX_SECRET:
        raise CliError(f"ERROR: invalid secret size for {name}: it is larger than {_MAX_SECRET} bytes")
    return name, content


def read_context(text: str) -> tuple[str, str | Context]:
    """`NAME=docker-image://IMAGE` or `NAME=FOLDER`. CliError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CliError(f"ERROR: invalid context value: {text}, expected key=value")
    if value.startswith("docker-image://"):
        return name, value
    if "://" in value or value.startswith(("git@", "github.com/", "target:")):
        raise CliError(f"ERROR: --build-context {text} is not supported: a context is a folder or docker-image://IMAGE")
    if not os.path.isdir(value):
        raise CliError(f"ERROR: failed to get build context {name}: stat {value}: no such file or directory")
    return name, Context(value, "", None)


def read_output(text: str) -> dict[str, str]:
    """`type=KIND,dest=PATH`, a folder alone, or `-` for an archive on standard output. CliError."""
    if "=" not in text and "," not in text:
        return {"type": "tar", "dest": "-"} if text == "-" else {"type": "local", "dest": text}
    values = fields_of(text, "output")
    kind = values.get("type", "")
    if not kind:
        raise CliError("ERROR: type is required for output")
    if kind not in _TITLES and kind not in _STORE:
        known = ", ".join((*_TITLES, *_STORE))
        raise CliError(f"ERROR: --output {text} is not supported: the types are {known}")
    for key in values:
        if key not in _OPTIONS.get(kind, ("type", "dest")):
            raise CliError(f"ERROR: --output {text} is not supported: type={kind} has no option {key}")
    if kind == "local" and not values.get("dest"):
        raise CliError("ERROR: dest is required for local exporter")
    if kind in ("tar", "oci") and values.get("dest", "") in ("", "-") and sys.stdout.isatty():
        raise CliError(f"ERROR: dest file is required for {kind} exporter. refusing to write to console")
    if kind in ("tar", "oci") and not values.get("dest"):
        values["dest"] = "-"
    return values


class Destination:
    """A file, a folder or standard output that gets an archive, whole or not at all."""

    def __init__(self, kind: str, path: str) -> None:
        self.kind = kind
        self.path = path
        self.title, self.note = _TITLES[kind]
        self._fresh = ""
        self._file: BinaryIO

    def open(self) -> None:
        """Before the build: what cannot be written is said now. CliError."""
        try:
            if self.kind == "local":
                os.makedirs(self.path, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self.path)  # noqa: SIM115 - closed by finish or abandon
            elif self.path == "-":
                self._file = sys.stdout.buffer
            elif os.path.isdir(self.path):
                raise CliError(f"ERROR: destination file {self.path} is a directory")
            else:
                fresh = f"{self.path}.{os.getpid()}.tmp"
                self._file = open(fresh, "wb")  # noqa: SIM115 - closed by finish or abandon
                self._fresh = fresh
        except OSError as error:
            raise CliError(f"ERROR: cannot write the output {self.path}: {error.strerror}") from None

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def finish(self) -> None:
        """All has come. CliError when a member cannot be unpacked."""
        if self.kind == "local":
            from wherry.cli.docker.copying import unpack_tree

            self._file.seek(0)
            try:
                unpack_tree(self._file, self.path)
            except OSError as error:
                reason = f"{error.filename or self.path}: {error.strerror}"
                raise CliError(f"ERROR: cannot write the output {self.path}: {reason}") from None
        if self.path == "-":
            self._file.flush()
        else:
            self._file.close()
        if self._fresh:
            os.replace(self._fresh, self.path)
            self._fresh = ""

    def abandon(self) -> None:
        """Leaves nothing of what has come; after `finish` it does nothing."""
        if self.path != "-" and hasattr(self, "_file"):
            self._file.close()
        if self._fresh:
            os.unlink(self._fresh)
            self._fresh = ""
