"""What is asked for when a request is authorised."""

from typing import NamedTuple

from wherry.kube_api.call import User


class Attributes(NamedTuple):
    """Either a resource request (`resource` set) or a non-resource one (`path` set)."""

    user: User
    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def refusal(asked: Attributes, why: str = "") -> str:
    """`User "x" cannot list resource "pods" in API group "" in the namespace "default"`."""
    user = f'User "{asked.user.name}"'
    if asked.path:
        return f'{user} cannot {asked.verb} path "{asked.path}"' + (f": {why}" if why else "")
    scope = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    text = f'{user} cannot {asked.verb} resource "{asked.full_resource}" in API group "{asked.group}" {scope}'
    return f"{text}: {why}" if why else text
