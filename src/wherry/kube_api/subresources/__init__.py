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
from wherry.kube_api.subresources.reviews import (
    review_access,
    review_local_access,
    review_own_access,
    review_own_rules,
    review_self,
    review_token,
)
from wherry.kube_api.subresources.token import request_token
from wherry.schema import builtin
from wherry.schema.resource import Object, Resource

Action = Callable[[Api, Call, Any], Awaitable[Object]]

_ACTIONS: dict[tuple[Resource, str], Action] = {
    (builtin.PODS, "binding"): bind,
    (builtin.BINDINGS, ""): bind_by_body,
    (builtin.PODS, "eviction"): evict,
    (builtin.TOKEN_REVIEWS, ""): review_token,
    (builtin.SUBJECT_ACCESS_REVIEWS, ""): review_access,
    (builtin.LOCAL_SUBJECT_ACCESS_REVIEWS, ""): review_local_access,
    (builtin.SELF_SUBJECT_ACCESS_REVIEWS, ""): review_own_access,
    (builtin.SELF_SUBJECT_RULES_REVIEWS, ""): review_own_rules,
    (builtin.SELF_SUBJECT_REVIEWS, ""): review_self,
    (builtin.SERVICE_ACCOUNTS, "token"): request_token,
}


def find_action(resource: Resource, subresource: str) -> Action | None:
    """The action behind POST of a subresource (or of a resource that is never stored)."""
    return _ACTIONS.get((resource, subresource))
