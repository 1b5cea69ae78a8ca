"""Make `data/protobuf.json` from checkouts of the public Go modules k8s.io/api and k8s.io/apimachinery.

    python -m wherry.kube_api.compile_protobuf API_CHECKOUT APIMACHINERY_CHECKOUT

Struct tags hold everything that decoding needs: field numbers, JSON names, what is embedded, what is a pointer.
Run it when the served release changes; the result is kept in the repository.
"""

import re
import sys
from pathlib import Path
from typing import Any

import orjson

from wherry.schema.builtin import BUILTIN

META = "meta/v1"
SPECIAL = {
    f"{META}.Time": "@time",
    f"{META}.MicroTime": "@time",
    f"{META}.Duration": "@duration",
    f"{META}.FieldsV1": "@json",
    f"{META}.Verbs": "@items",
    "runtime.RawExtension": "@json",
    "runtime.Unknown": "@json",
    "resource.Quantity": "@string",
    "intstr.IntOrString": "@intorstring",
    "types.UID": "s",
    "types.NodeName": "s",
}
SCALARS = {"string": "s", "bool": "b", "int32": "i", "int64": "i", "int": "i", "uint32": "i", "uint64": "i",
           "uint8": "i", "int16": "i", "float64": "d", "byte": "i", "rune": "i"}  # fmt: skip
EXTRA = {
    "policy/v1/Eviction": "policy/v1.Eviction",
    "autoscaling/v1/Scale": "autoscaling/v1.Scale",
    "authentication.k8s.io/v1/TokenRequest": "authentication/v1.TokenRequest",
    "DeleteOptions": f"{META}.DeleteOptions",
}
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_ALIAS = re.compile(r"^type (\w+) ([\w.\[\]*]+)\s*$", re.MULTILINE)
_FIELD = re.compile(r"^\s*(?:(\w+)\s+)?([\w.\[\]*]+)\s+`([^`]*)`", re.MULTILINE)
_IMPORT = re.compile(r'^\s*(\w+)?\s*"k8s\.io/(api|apimachinery)/([\w/]+)"', re.MULTILINE)


def package_of(path: str) -> str:
    return (
        META if path == "pkg/apis/meta/v1" else path.removeprefix("pkg/").rpartition("/")[2] if "pkg/" in path else path
    )


class Source:
    """All packages' structs and aliases."""

    def __init__(self, api: Path, machinery: Path) -> None:
        self.structs: dict[str, tuple[str, dict[str, str]]] = {}
        self.aliases: dict[str, str] = {}
        folders = [(folder, str(folder.relative_to(api))) for folder in api.glob("*/*") if folder.is_dir()]
        folders.append((machinery / "pkg/apis/meta/v1", META))
        for folder, package in folders:
            for file in folder.glob("*.go"):
                if file.name.endswith("_test.go") or file.name.startswith("generated") or "zz_" in file.name:
                    continue
                self.read(file.read_text(), package)

    def read(self, text: str, package: str) -> None:
        imports = {}
        for name, _, path in _IMPORT.findall(text):
            imports[name or path.rpartition("/")[2]] = package_of(path)
        for name, body in _STRUCT.findall(text):
            self.structs[f"{package}.{name}"] = (body, imports)
        for name, target in _ALIAS.findall(text):
            self.aliases[f"{package}.{name}"] = self.resolve(target, package, imports)

    def resolve(self, text: str, package: str, imports: dict[str, str]) -> str:
        """A Go type as our notation: `[]T`, `map:T`, a scalar letter, a special or `package.Name`."""
        if text == "[]byte":
            return "y"
        if text.startswith("[]"):
            return "[]" + self.resolve(text[2:], package, imports)
        if text.startswith("map["):
            return "map:" + self.resolve(text.partition("]")[2], package, imports)
        if text.startswith("*"):
            return self.resolve(text[1:], package, imports)
        if text in SCALARS:
            return SCALARS[text]
        qualifier, dot, name = text.rpartition(".")
        full = f"{imports.get(qualifier, qualifier)}.{name}" if dot else f"{package}.{text}"
        return SPECIAL.get(full, full)

    def final(self, type_: str) -> str:
        """With aliases followed."""
        if type_ in SPECIAL.values():
            return type_
        if type_.startswith("[]"):
            return "[]" + self.final(type_[2:])
        if type_.startswith("map:"):
            return "map:" + self.final(type_[4:])
        if type_ in self.aliases:
            target = self.final(self.aliases[type_])
            return "@items" if target == "[]s" and type_.rpartition(".")[2] in ("ExtraValue", "Verbs") else target
        return type_

    def fields(self, name: str) -> dict[str, list[str]]:
        """number -> [JSON name, type, flags]; flags: p pointer, k zero is kept, i embedded."""
        body, imports = self.structs[name]
        package = name.rpartition(".")[0]
        found: dict[str, list[str]] = {}
        for _, go_type, tag in _FIELD.findall(body):
            proto = re.search(r'protobuf:"([^"]*)"', tag)
            json = re.search(r'json:"([^"]*)"', tag)
            if proto is None or json is None or proto[1] == "-":
                continue
            json_name, *options = json[1].split(",")
            flags = "p" if go_type.startswith("*") else ""
            if "omitempty" not in options and "omitzero" not in options:
                flags += "k"
            if not json_name:
                flags += "i"
            found[proto[1].split(",")[1]] = [json_name, self.final(self.resolve(go_type, package, imports)), flags]
        return found


def compile_table(source: Source) -> dict[str, Any]:
    kinds = dict(EXTRA)
    for row in BUILTIN:
        group = {"": "core"}.get(row.group, row.group.partition(".")[0])
        group = {"rbac": "rbac", "internal": "apiserverinternal"}.get(group, group)
        name = f"{group}/{row.version}.{row.kind}"
        if name in source.structs:
            kinds[f"{row.api_version}/{row.kind}"] = name
    types: dict[str, dict[str, list[str]]] = {}
    todo = list(kinds.values())
    while todo:
        name = todo.pop()
        if name in types or name not in source.structs:
            continue
        types[name] = source.fields(name)
        for _, type_, _ in types[name].values():
            todo.append(type_.removeprefix("[]").removeprefix("map:").removeprefix("[]"))
    missing = {
        base
        for fields in types.values()
        for _, type_, _ in fields.values()
        if len(base := type_.removeprefix("[]").removeprefix("map:").removeprefix("[]")) > 1
        and base[0] != "@"
        and base not in types
    }
    if missing:
        raise SystemExit(f"unknown types: {sorted(missing)}")
    return {"kinds": kinds, "types": types}


if __name__ == "__main__":
    table = compile_table(Source(Path(sys.argv[1]), Path(sys.argv[2])))
    target = Path(__file__).parent / "data" / "protobuf.json"
    target.write_bytes(orjson.dumps(table, option=orjson.OPT_SORT_KEYS) + b"\n")
