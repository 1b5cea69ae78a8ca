"""Which objects a command is about: `TYPE NAME…`, `TYPE/NAME…`, `-l`, `--all`, `-A` and `-f`.

`select` reads the command line and fetches nothing; `fetch` gets what was selected.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from wherry.cli.kubectl.discovery import Resource
from wherry.cli.kubectl.errors import KubectlError, ServerError
from wherry.cli.kubectl.manifests import Document
from wherry.cli.kubectl.session import Object, Session

NO_RESOURCE = (
    "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form "
    "(e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'"
)


class Target(NamedTuple):
    """One object by `name`, or all of a resource (`name` empty) that the selectors match."""

    resource: Resource
    namespace: str
    """Empty for all namespaces and for resources without one."""
    name: str
    document: Document | None = None


class Found(NamedTuple):
    """An object of the server."""

    resource: Resource
    namespace: str
    name: str
    object: Object
    document: Document | None = None

    @property
    def path(self) -> str:
        return self.resource.path(self.namespace, self.name)

    @property
    def label(self) -> str:
        return f"{self.resource.label}/{self.name}"


def types_of(session: Session, words: str) -> list[Resource]:
    """The resources of `pods,svc` or `all`."""
    found: list[Resource] = []
    for word in words.split(","):
        if not word:
            raise KubectlError("arguments in resource/name form may not have more than one slash")
        category = (
            session.discovery.category(word.lower()) if word.isalpha() and len(word) < 16 and _may_be(word) else []
        )
        found += category if category else [session.find(word)]
    return found


def _may_be(word: str) -> bool:
    """Categories are few and are never the name of a resource."""
    return word.lower() in ("all", "api-extensions") or not word.endswith("s")


def select(
    session: Session,
    arguments: list[str],
    *,
    documents: list[Document] | None = None,
    all_of_type: bool = False,
    all_namespaces: bool = False,
    need_name: bool = True,
    single_type: bool = False,
) -> list[Target]:
    """The targets of a command line. Raises KubectlError as kubectl's resource builder words it."""
    selector = bool(session.options.get("selector") or session.options.get("field-selector"))
    if documents is not None and arguments:
        raise KubectlError(
            "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well"
        )
    if documents is not None:
        return [target_of(session, document) for document in documents]
    if not arguments:
        raise KubectlError("You must provide one or more resources by argument or filename.\n" + _EXAMPLE)
    slashed = ["/" in word for word in arguments]
    if any(slashed):
        if not all(slashed):
            raise KubectlError(NO_RESOURCE)
        return [_slashed(session, word, all_namespaces, selector) for word in arguments]
    types = types_of(session, arguments[0])
    names = arguments[1:]
    if single_type and len(types) > 1:
        raise KubectlError("only one resource type may be specified")
    if names and selector:
        raise KubectlError("name cannot be provided when a selector is specified")
    if names and all_of_type and session.options.get("all"):
        raise KubectlError(
            "setting 'all' parameter but found a non empty selector. "
            if selector
            else "name cannot be provided when a selector is specified"
        )
    if not names:
        if need_name and not selector and not all_of_type:
            raise KubectlError("resource(s) were provided, but no name was specified")
        return [Target(kind, _namespace(session, kind, all_namespaces), "") for kind in types]
    if all_namespaces:
        raise KubectlError("a resource cannot be retrieved by name across all namespaces")
    return [Target(kind, _namespace(session, kind, False), name) for kind in types for name in names]


_EXAMPLE = """Example resource specifications include:
   '-f rsrc.yaml'
   '--filename=rsrc.json'
   '<resource> <name>'
   '<resource>'"""


def _slashed(session: Session, word: str, all_namespaces: bool, selector: bool) -> Target:
    parts = word.split("/")
    if len(parts) != 2:
        raise KubectlError("arguments in resource/name form may not have more than one slash")
    if not parts[0] or not parts[1]:
        raise KubectlError("arguments in resource/name form must have a single resource and name")
    if selector:
        raise KubectlError("name cannot be provided when a selector is specified")
    if all_namespaces:
        raise KubectlError("a resource cannot be retrieved by name across all namespaces")
    if "," in parts[0]:
        raise KubectlError("arguments in resource/name form must have a single resource and name")
    resource = session.find(parts[0])
    return Target(resource, _namespace(session, resource, False), parts[1])


def _namespace(session: Session, resource: Resource, all_namespaces: bool) -> str:
    return session.namespace if resource.namespaced and not all_namespaces else ""


def resource_of(session: Session, document: Document) -> Resource:
    """The resource of a manifest's object. Raises KubectlError when the server has none."""
    obj = document.object
    resource = session.discovery.for_kind(str(obj["apiVersion"]), str(obj["kind"]))
    if resource is None:
        meta = obj.get("metadata") or {}
        raise KubectlError(
            f'resource mapping not found for name: "{meta.get("name", "")}" namespace: "{meta.get("namespace", "")}" '
            f'from "{document.source}": no matches for kind "{obj["kind"]}" in version "{obj["apiVersion"]}"\n'
            "ensure CRDs are installed first"
        )
    return resource


def target_of(session: Session, document: Document) -> Target:
    """A manifest's target; its namespace must be the one that -n names."""
    resource = resource_of(session, document)
    metadata = document.object.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    namespace = ""
    if resource.namespaced:
        own = metadata.get("namespace") or ""
        if own and session.is_namespace_given and own != session.namespace:
            raise KubectlError(
                f'the namespace from the provided object "{own}" does not match the namespace '
                f"\"{session.namespace}\". You must pass '--namespace={own}' to perform this operation."
            )
        namespace = own or session.namespace
        if not own:
            document.object["metadata"] = {**metadata, "namespace": namespace}
    return Target(resource, namespace, str(metadata.get("name") or ""), document)


def list_query(session: Session, *, limit: int = 0) -> dict[str, Any]:
    query: dict[str, Any] = {}
    if session.options.get("selector"):
        query["labelSelector"] = session.options["selector"]
    if session.options.get("field-selector"):
        query["fieldSelector"] = session.options["field-selector"]
    if limit:
        query["limit"] = limit
    return query


def pages(session: Session, target: Target, *, limit: int = 500, accept: str = "application/json") -> Iterator[Any]:
    """A list's pages, following its continue tokens."""
    query = list_query(session, limit=limit)
    while True:
        page = session.http.get(target.resource.path(target.namespace), query, accept=accept)
        yield page
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            return
        query["continue"] = token


def fetch(
    session: Session, targets: list[Target], *, errors: list[KubectlError] | None = None, ignore_missing: bool = False
) -> list[Found]:
    """The targets' objects. What cannot be had goes to `errors`, or is raised when there is no such list."""
    found: list[Found] = []
    for target in targets:
        try:
            if target.name:
                found.append(_get(session, target))
            else:
                for page in pages(session, target):
                    version = page.get("apiVersion")
                    for item in page.get("items") or ():
                        item = {"apiVersion": version, "kind": target.resource.kind, **item}
                        meta = item["metadata"]
                        found.append(Found(target.resource, meta.get("namespace", ""), meta["name"], item))
        except ServerError as error:
            if ignore_missing and error.status == 404:
                continue
            if errors is None:
                raise
            errors.append(error)
    return found


def _get(session: Session, target: Target) -> Found:
    obj = session.http.get(target.resource.path(target.namespace, target.name))
    return Found(target.resource, target.namespace, target.name, obj, target.document)


def load(
    session: Session,
    arguments: list[str] | None = None,
    *,
    all_of_type: bool = False,
    all_namespaces: bool = False,
    errors: list[KubectlError] | None = None,
) -> list[Found]:
    """Select and fetch in one step, from `-f` or the arguments: for verbs that change existing objects."""
    from wherry.cli.kubectl.manifests import read

    options = session.options
    files = options.get("filename") or options.get("kustomize")
    targets = select(
        session,
        options.arguments if arguments is None else arguments,
        documents=read(options) if files else None,
        all_of_type=all_of_type or bool(options.get("all")),
        all_namespaces=all_namespaces or bool(options.get("all-namespaces")),
    )
    return fetch(session, targets, errors=errors)
