"""`-f`: objects from files, folders, URLs and stdin, in YAML or JSON; Lists are taken apart."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Options

EXTENSIONS = (".json", ".yaml", ".yml")


class Document(NamedTuple):
    """An object and where it stood: a path, a URL or `STDIN`."""

    source: str
    object: dict[str, Any]


def read(options: Options) -> list[Document]:
    """The objects of all `-f` (and none of `-k`: refused). Raises KubectlError."""
    if options.get("kustomize"):
        raise KubectlError("kustomize is not supported: render the manifests first and pass them with -f")
    found: list[Document] = []
    for name in options["filename"]:
        for source, text in _texts(name, bool(options.get("recursive"))):
            found += parse(source, text)
    return found


def _texts(name: str, recursive: bool) -> Iterator[tuple[str, bytes]]:
    if name == "-":
        yield "STDIN", sys.stdin.buffer.read()
        return
    if name.startswith(("http://", "https://")):
        yield name, _download(name)
        return
    if any(c in name for c in "*?[") and not os.path.exists(name):
        import glob

        paths = sorted(glob.glob(name))
        if not paths:
            raise KubectlError(f'the path "{name}" does not exist')
    else:
        paths = [name]
    for path in paths:
        if os.path.isdir(path):
            inside = list(_folder(path, recursive))
            if not inside:
                raise KubectlError(f"error reading [{path}]: recognized file extensions are [{' '.join(EXTENSIONS)}]")
            for file in inside:
                yield file, _file(file)
        else:
            yield path, _file(path)


def _folder(path: str, recursive: bool) -> Iterator[str]:
    for entry in sorted(os.listdir(path)):
        whole = os.path.join(path, entry)
        if os.path.isdir(whole):
            if recursive:
                yield from _folder(whole, recursive)
        elif entry.endswith(EXTENSIONS):
            yield whole


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise KubectlError(f'the path "{path}" does not exist') from error
    except OSError as error:
        raise KubectlError(f'the path "{path}" cannot be accessed: {(error.strerror or "").lower()}') from error


def _download(url: str) -> bytes:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            data: bytes = response.read()
            return data
    except urllib.error.HTTPError as error:
        raise KubectlError(
            f'unable to read URL "{url}", server reported {error.code} {error.reason}, status code={error.code}'
        ) from error
    except (urllib.error.URLError, OSError) as error:
        raise KubectlError(f'Get "{url}": {getattr(error, "reason", error)}') from error


def parse(source: str, text: bytes) -> list[Document]:
    """The objects of one text."""
    if text.lstrip()[:1] == b"{":
        documents = _json_documents(source, text)
    else:
        from wherry.cli.kubectl.yamlio import YamlError, load_all

        try:
            documents = list(load_all(text))
        except YamlError as error:
            raise KubectlError(f"error parsing {source}: error converting YAML to JSON: {error}") from error
    found: list[Document] = []
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise KubectlError(
                f"error parsing {source}: error unmarshaling JSON: while decoding JSON: "
                f"json: cannot unmarshal {_go_word(document)} into Go value of type map[string]interface {{}}"
            )
        found += _expand(source, document)
    return found


def _go_word(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return {list: "array", str: "string", int: "number", float: "number"}.get(type(value), "value")


def _json_documents(source: str, text: bytes) -> list[Any]:
    decoder = json.JSONDecoder()
    rest, found = text.decode(), []
    while rest := rest.lstrip():
        try:
            value, end = decoder.raw_decode(rest)
        except ValueError:
            from wherry.cli.kubectl.yamlio import YamlError, load_all

            try:
                return list(load_all(text))
            except YamlError as error:
                raise KubectlError(f"error parsing {source}: {error}") from error
        found.append(value)
        rest = rest[end:]
    return found


def _expand(source: str, document: dict[str, Any]) -> Iterator[Document]:
    kind = document.get("kind")
    if not document.get("apiVersion") or not kind:
        missing = [f"{key} not set" for key in ("apiVersion", "kind") if not document.get(key)]
        said = missing[0] if len(missing) == 1 else f"[{', '.join(missing)}]"
        raise KubectlError(
            f'error validating "{source}": error validating data: {said}; '
            "if you choose to ignore these errors, turn validation off with --validate=false"
        )
    if isinstance(document.get("items"), list) and str(kind).endswith("List"):
        for item in document["items"]:
            if isinstance(item, dict):
                yield from _expand(source, item)
        return
    yield Document(source, document)
