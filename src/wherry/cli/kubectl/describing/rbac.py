"""Roles and bindings, of a namespace and of the cluster."""

from wherry.cli.kubectl.describing.writer import Object, Writer
from wherry.cli.kubectl.session import Session


def role(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta = obj["metadata"]
    out.field("Name", meta["name"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.raw("PolicyRule:\n")
    out.line(1, "Resources\tNon-Resource URLs\tResource Names\tVerbs")
    out.line(1, "---------\t-----------------\t--------------\t-----")
    for resources, urls, names, verbs in _rows(obj.get("rules") or []):
        out.line(1, f"{resources}\t{urls}\t{names}\t{verbs}")


def _rows(rules: list[Object]) -> list[tuple[str, str, str, str]]:
    """One row for each resource (and name) with all its verbs, one for each path and verb; ordered by their verbs."""
    simple: dict[tuple[str, str, str], list[str]] = {}
    keyed: list[tuple[str, tuple[str, str, str, str]]] = []
    for rule in rules:
        verbs = rule.get("verbs") or []
        for url in rule.get("nonResourceURLs") or ():
            keyed += [(_key([verb], "", "", "", url), ("", f"[{url}]", "[]", f"[{verb}]")) for verb in verbs]
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                for name in rule.get("resourceNames") or [""]:
                    simple.setdefault((group, resource, name), []).extend(verbs)
    for (group, resource, name), verbs in simple.items():
        first, slash, sub = resource.partition("/")
        shown = f"{first}.{group}{slash}{sub}" if group else resource
        keyed.append((_key(verbs, group, resource, name, ""), (shown, "[]", f"[{name}]", f"[{' '.join(verbs)}]")))
    return [row for _, row in sorted(keyed, key=lambda pair: pair[0])]


def _key(verbs: list[str], group: str, resource: str, name: str, url: str) -> str:
    about = f"APIGroups:[{group}],Resources:[{resource}],ResourceNames:[{name}],NonResourceURLs:[{url}]"
    return f"{{Verbs:[{' '.join(verbs)}],{about},}}"


def binding(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, reference = obj["metadata"], obj.get("roleRef") or {}
    out.field("Name", meta["name"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.raw("Role:\n")
    out.field("Kind", reference.get("kind", ""), 1)
    out.field("Name", reference.get("name", ""), 1)
    out.raw("Subjects:\n")
    out.line(1, "Kind\tName\tNamespace")
    out.line(1, "----\t----\t---------")
    for one in obj.get("subjects") or ():
        out.line(1, f"{one.get('kind', '')}\t{one.get('name', '')}\t{one.get('namespace', '')}")
