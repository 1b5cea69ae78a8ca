"""Subresources that are actions: they are POSTed, and answer with something other than the object itself.

`find_action(resource, subresource)` gives `async action(api, call, body) -> dict`. Subresources that are another way
to write the same object (status, finalize, approval, resize…) are `prepare_*` methods of the strategies instead;
`scale` has both directions in `scale.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.kube_api.subresources.binding import bind, bind_by_body
from wherry.kube_api.subresources.eviction import evict
from wherry.kube_api.subresources.token import request_token
from wherry.schema import builtin
from wherry.schema.resource import Object, Resource

Action = Callable[[Api, Call, Any], Awaitable[Object]]

_ACTIONS: dict[tuple[Resource, str], Action] = {
    (builtin.PODS, "binding"): bind,
    (builtin.BINDINGS, ""): bind_by_body,
    (builtin.PODS, "eviction"): evict,
    (builtin.SERVICE_ACCOUNTS, "token"): request_token,
}


def find_action(resource: Resource, subresource: str) -> Action | None:
    """The action behind POST of a subresource (or of a resource that is never stored)."""
    return _ACTIONS.get((resource, subresource))


def success(code: int = 201) -> Object:
    """The Status that actions with nothing to say answer with."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}
