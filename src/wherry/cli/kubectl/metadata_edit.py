"""What `label` and `annotate` share: `KEY=VALUE` sets, `KEY-` removes, `--list` shows."""

from typing import Any

from wherry.cli.kubectl.errors import KubectlError, UsageError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import MERGE_PATCH
from wherry.cli.kubectl.selection import Found, fetch, select
from wherry.cli.kubectl.session import (
    ALL_NAMESPACES,
    DRY_RUN,
    FIELD_SELECTOR,
    FILES,
    MANAGER,
    PRINTING,
    SELECTOR,
    Object,
    Session,
)

USAGE = "[--overwrite] (-f FILENAME | TYPE NAME) KEY_1=VAL_1 ... KEY_N=VAL_N [--resource-version=version]"


def help_text(plural: str, one: str) -> str:
    """`one` is the word with its article."""
    return f"Update the {plural} on a resource. `KEY=VALUE` sets {one}, `KEY-` removes it."


def examples(verb: str, noun: str) -> str:
    return f"""
# Give a pod the {noun} 'unhealthy' with the value 'true'
kubectl {verb} pods foo unhealthy=true

# Remove the {noun} 'bar' if it exists
kubectl {verb} pods foo bar-
"""


def flags(plural: str) -> tuple[Flag, ...]:
    return (
        *FILES,
        *PRINTING,
        SELECTOR,
        FIELD_SELECTOR,
        ALL_NAMESPACES,
        DRY_RUN,
        MANAGER,
        Flag("all", "", "bool", False, "Select all objects of the given types in the namespace."),
        Flag("list", "", "bool", False, f"Show the {plural} of the objects instead."),
        Flag("local", "", "bool", False, "Change the files' objects without asking the server."),
        Flag("overwrite", "", "bool", False, f"Allow {plural} that exist to be overwritten."),
        Flag("resource-version", "", "str", "", "Change only when this is the object's version."),
    )


def edit(session: Session, field: str, noun: str, done: str) -> int:
    """`field` is labels or annotations, `noun` its singular, `done` what is said afterwards."""
    options = session.options
    resources, changes = _split(options.arguments)
    new, removed = _changes(changes, noun)
    files = options["filename"] or options["kustomize"]
    if not files and not resources:
        raise KubectlError("one or more resources must be specified as <resource> <name> or <resource>/<name>")
    if not new and not removed and not options["list"]:
        raise KubectlError(f"at least one {noun} update is required")
    if options["list"] and (new or removed):
        raise UsageError(f"when specifying --list, {noun} update arguments may not be specified")
    local = options["local"] or session.dry_run == "client"
    errors: list[KubectlError] = []
    for found in _objects(session, resources, errors, files):
        try:
            if options["list"]:
                _list(found, field)
                continue
            _apply(session, found, field, noun, done, new, removed, local)
        except KubectlError as error:
            errors.append(error)
    raise_all(errors)
    return 0


def _objects(session: Session, resources: list[str], errors: list[KubectlError], files: Any) -> list[Found]:
    options = session.options
    documents = None
    if files:
        from wherry.cli.kubectl.manifests import read

        documents = read(options)
    if options["local"]:
        from wherry.cli.kubectl.selection import target_of

        out = []
        for document in documents or ():
            target = target_of(session, document)
            out.append(Found(target.resource, target.namespace, target.name, document.object, document))
        return out
    targets = select(
        session,
        resources,
        documents=documents,
        all_of_type=options["all"],
        all_namespaces=options["all-namespaces"],
    )
    return fetch(session, targets, errors=errors)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Resources come first; the first word with `=` or a final `-` begins the changes."""
    for index, word in enumerate(arguments):
        if ("=" in word or (word.endswith("-") and index > 0)) and not (word.startswith("=")):
            return arguments[:index], arguments[index:]
    return arguments, []


def _changes(words: list[str], noun: str) -> tuple[dict[str, str], list[str]]:
    new: dict[str, str] = {}
    removed: list[str] = []
    for word in words:
        if "=" in word:
            key, _, value = word.partition("=")
            if not key or (noun == "label" and "=" in value):
                raise KubectlError(f"invalid {noun} spec: {word}")
            new[key] = value
        elif word.endswith("-"):
            removed.append(word[:-1])
        else:
            raise KubectlError(f"unknown {noun} spec: {word}")
    for key in removed:
        if key in new:
            raise KubectlError(
                f"can not both modify and remove {'a label' if noun == 'label' else 'an annotation'} "
                "in the same command"
            )
    return new, removed


def _list(found: Found, field: str) -> None:
    for key, value in sorted(((found.object.get("metadata") or {}).get(field) or {}).items()):
        print(f"{key}={value}")


def _apply(
    session: Session,
    found: Found,
    field: str,
    noun: str,
    done: str,
    new: dict[str, str],
    removed: list[str],
    local: bool,
) -> None:
    options = session.options
    own: dict[str, str] = (found.object.get("metadata") or {}).get(field) or {}
    if not options["overwrite"]:
        for key, value in new.items():
            if key in own and own[key] != value:
                if noun == "label":
                    raise KubectlError(f"'{key}' already has a value ({own[key]}), and --overwrite is false")
                raise KubectlError(
                    f"--overwrite is false but found the following declared annotation(s): '{key}' already "
                    f"has a value ({own[key]})"
                )
    for key in removed:
        if key not in own:
            print(f'{noun} "{key}" not found.')
    patch: dict[str, Any] = {key: value for key, value in new.items() if own.get(key) != value}
    patch.update({key: None for key in removed if key in own})
    result: Object = found.object
    said = done
    if noun == "label":
        said = "not labeled" if not patch else "unlabeled" if removed and not new else "labeled"
    if local:
        meta = found.object.get("metadata") or {}
        merged = {key: value for key, value in {**own, **patch}.items() if value is not None}
        result = {**found.object, "metadata": {**meta, field: merged}}
    elif patch:
        body: Object = {"metadata": {field: patch}}
        if options["resource-version"]:
            body["metadata"]["resourceVersion"] = options["resource-version"]
        query = session.write_query("kubectl-label" if noun == "label" else "kubectl-annotate", validate=False)
        result = session.http.request("PATCH", found.path, query, body, content_type=MERGE_PATCH)
    session.done(found.resource, found.name, said, result)
