"""All of authorisation in one place: RBAC, the limits of nodes, impersonation, and what is written to the audit log."""

import logging
from typing import TYPE_CHECKING

from wherry.kube_api.auth.attributes import Attributes, refusal
from wherry.kube_api.auth.node import NodeAuthorizer
from wherry.kube_api.auth.rbac import Rbac
from wherry.kube_api.call import User
from wherry.schema import errors

if TYPE_CHECKING:
    from wherry.kube_api.audit import AuditLog
    from wherry.kube_api.http.message import Request
    from wherry.kube_api.http.routes import Route

log = logging.getLogger(__name__)


class Authorizer:
    """See the module. `audit_log` is None when no audit log is kept."""

    def __init__(self, rbac: Rbac, audit_log: "AuditLog | None" = None, nodes: NodeAuthorizer | None = None) -> None:
        self.rbac = rbac
        self._nodes = nodes
        self._audit_log = audit_log

    def allows(self, asked: Attributes) -> bool:
        return self.rbac.allows(asked) and self.narrowed(asked) is None

    def narrowed(self, asked: Attributes) -> str | None:
        """Why something that RBAC allows is refused all the same: the limits of nodes."""
        return self._nodes.refuses(asked) if self._nodes is not None else None

    def impersonate(self, user: User, headers: dict[str, str]) -> User:
        """The user that Impersonate-* headers name. Raises Forbidden, BadRequest."""
        name = headers.get("impersonate-user", "")
        if not name:
            raise errors.BadRequest("requested an impersonation of a group, uid or extra without impersonating a user")
        groups = [one.strip() for one in headers.get("impersonate-group", "").split(",") if one.strip()]
        if name.startswith("system:serviceaccount:") and name.count(":") == 3:
            _, _, namespace, account = name.split(":")
            self._check(Attributes(user, "impersonate", "", "serviceaccounts", "", namespace, account))
            if not groups:
                groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        else:
            self._check(Attributes(user, "impersonate", "", "users", "", "", name))
        for group in groups:
            self._check(Attributes(user, "impersonate", "", "groups", "", "", group))
        uid = headers.get("impersonate-uid", "")
        if uid:
            self._check(Attributes(user, "impersonate", "authentication.k8s.io", "uids", "", "", uid))
        extra = []
        for header, value in headers.items():
            if header.startswith("impersonate-extra-"):
                key = header[len("impersonate-extra-") :]
                self._check(Attributes(user, "impersonate", "authentication.k8s.io", "userextras", key, "", value))
                extra.append((key, tuple(value.split(","))))
        if name == "system:anonymous":
            final = [*groups, "system:unauthenticated"]
        else:
            final = [*groups, "system:authenticated"]
        return User(name, tuple(dict.fromkeys(final)), uid, tuple(extra))

    def _check(self, asked: Attributes) -> None:
        if not self.allows(asked):
            raise errors.Forbidden(
                f'{asked.full_resource} "{asked.name}" is forbidden: {refusal(asked)}',
                details={"name": asked.name, "kind": asked.resource},
            )

    @property
    def auditing(self) -> bool:
        """Whether an audit log is kept."""
        return self._audit_log is not None

    def audit(
        self, request: "Request", user: User, route: "Route", verb: str, status: int, seconds: float, real: User
    ) -> None:
        """`real` is who asked, `user` on whose behalf."""
        if self._audit_log is not None:
            self._audit_log.record(request, user, route, verb, status, seconds, real)
