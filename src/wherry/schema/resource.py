"""What a resource is: the row of the resource table that everything generic is driven by.

Vocabulary: a *resource* is the plural that stands in URLs (`pods`), a *kind* the name in an object's body
(`Pod`), a *subresource* a further path below an object (`status`, `scale`, `log`).
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object as decoded JSON. Never mutate one that came from an informer or a lister: copy first."""


@dataclass(frozen=True)
class Resource:
    """One row of the resource table: group, version, names and scope. Hashable; identity is group+version+plural."""

    _hash: int = field(init=False, repr=False, compare=False)

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    singular: str = field(default="", compare=False)
    short_names: tuple[str, ...] = field(default=(), compare=False)
    categories: tuple[str, ...] = field(default=(), compare=False)
    subresources: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        # Resources are the keys of very many dicts.
        object.__setattr__(self, "_hash", hash((self.group, self.version, self.plural)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def api_version(self) -> str:
        """`v1`, `apps/v1`: what stands in an object's apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`pods`, `deployments.apps`: how messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path, e.g. `/apis/apps/v1/namespaces/default/deployments/web/status`."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace:
            base += f"/namespaces/{namespace}"
        base += f"/{self.plural}"
        if name:
            base += f"/{name}"
        if subresource:
            base += f"/{subresource}"
        return base
