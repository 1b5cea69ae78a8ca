"""Aggregated ClusterRoles: their rules are those of all roles that their selectors choose, and follow them.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from wherry.kube_api.cache import CacheEvent
from wherry.kube_api.objects import Entry
from wherry.schema import errors, selectors
from wherry.schema.builtin import CLUSTER_ROLES
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class Aggregation:
    """`run()` keeps the rules of aggregated roles true, for ever."""

    def __init__(self, api: "Api") -> None:
        self._api = api
        self._changed = asyncio.Event()
        self._changed.set()
        api.cache_of(CLUSTER_ROLES).listen(self._note)

    def _note(self, event: CacheEvent) -> None:
        self._changed.set()

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.once()
            except errors.ApiError as error:
                log.warning("aggregated roles cannot be written: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()

    async def once(self) -> None:
        """Write every aggregated role whose rules are not what they should be."""
        cache = self._api.cache_of(CLUSTER_ROLES)
        for entry in list(cache.entries()):
            role = entry.shared()
            if role.get("aggregationRule") and (role.get("rules") or []) != self.rules(role):
                await self._write(entry.name)

    async def _write(self, name: str) -> None:
        async def change(entry: Entry | None) -> Object | None:
            if entry is None:
                return None
            role = entry.decode()
            wanted = self.rules(role)
            if not role.get("aggregationRule") or (role.get("rules") or []) == wanted:
                return None
            role["rules"] = wanted
            return role

        try:
            await self._api.modify(CLUSTER_ROLES, None, name, change)
        except errors.NotFound:
            log.debug("cluster role %s is gone", name)

    def rules(self, role: Object) -> list[Any]:
        """The rules of the roles that `role` chooses, each once, in the order of their names."""
        chosen = [
            selectors.from_label_selector(one)
            for one in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
        ]
        found: list[Any] = []
        for entry in self._api.cache_of(CLUSTER_ROLES).entries():
            other = entry.shared()
            if entry.name == role["metadata"]["name"]:
                continue
            labels = other["metadata"].get("labels") or {}
            if any(one.matches(labels) for one in chosen):
                found += [rule for rule in other.get("rules") or () if rule not in found]
        return found
