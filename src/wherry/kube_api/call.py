"""What one request asks: who, which verb, on what, with which options.

The HTTP layer makes a `Call` from a URL, `LocalClient` makes one from its arguments; the verbs take nothing else.
Option names and meanings are those of https://kubernetes.io/docs/reference/using-api/api-concepts/.
"""

from dataclasses import dataclass, field
from typing import Any

from wherry.schema.resource import Resource


@dataclass(frozen=True)
class User:
    """An authenticated caller. `groups` includes system:authenticated or system:unauthenticated."""

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
MASTER = User("system:admin", ("system:masters", "system:authenticated"))
SERVER = User("system:apiserver", ("system:masters", "system:authenticated"))


@dataclass(slots=True)
class DeleteOptions:
    """The body of DELETE."""

    uid: str | None = None
    resource_version: str | None = None
    grace_period_seconds: int | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None


@dataclass(slots=True)
class Call:
    """One request to one resource. `namespace` is None for cluster-scoped resources and all-namespace lists."""

    user: User
    verb: str
    resource: Resource
    namespace: str | None = None
    name: str | None = None
    subresource: str = ""
    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = "Warn"
    force: bool = False
    applying: bool = False
    """Server-side apply: managedFields have been worked out already."""
    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    continue_token: str = ""
    timeout_seconds: int = 0
    allow_bookmarks: bool = False
    send_initial_events: bool | None = None
    warnings: list[str] = field(default_factory=list)
    raw: bytes | None = None
    """The body as it came (for finding duplicate fields); None when the caller is in-process."""
    trusted: bool = False
    """In-process callers: no namespace or quota is looked up twice, nothing is forbidden to them."""

    def warn(self, message: str) -> None:
        """Tell the client something in a Warning header; each message once."""
        if message not in self.warnings:
            self.warnings.append(message)

    def with_(self, **changes: Any) -> "Call":
        """A copy with some fields changed; warnings are shared."""
        import dataclasses

        return dataclasses.replace(self, **changes)
