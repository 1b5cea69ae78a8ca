"""Discovery: which groups, versions and resources there are, plain and aggregated.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

import base64
import hashlib

import orjson

from wherry.schema.builtin import NOT_STORED
from wherry.schema.resource import Resource
from wherry.schema.table import ResourceTable

ALL_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_SUBRESOURCE_VERBS = {
    "status": ["get", "patch", "update"],
    "scale": ["get", "patch", "update"],
    "ephemeralcontainers": ["get", "patch", "update"],
    "resize": ["get", "patch", "update"],
    "approval": ["get", "patch", "update"],
    "finalize": ["update"],
    "log": ["get"],
    "exec": ["create", "get"],
    "attach": ["create", "get"],
    "portforward": ["create", "get"],
    "proxy": ["create", "delete", "get", "patch", "update"],
    "binding": ["create"],
    "eviction": ["create"],
    "token": ["create"],
}
_SUBRESOURCE_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
    "exec": ("", "v1", "PodExecOptions"),
    "attach": ("", "v1", "PodAttachOptions"),
    "portforward": ("", "v1", "PodPortForwardOptions"),
}
_PROXY_KINDS = {"nodes": "NodeProxyOptions", "pods": "PodProxyOptions", "services": "ServiceProxyOptions"}
_READ_ONLY = ("nodes", "pods")


class Discovery:
    """Documents made from the table, again whenever it has changed."""

    def __init__(self, table: ResourceTable, address: str) -> None:
        self._table = table
        self.address = address
        self._revision = -1
        self._made: dict[str, bytes] = {}

    def document(self, path: str, aggregated: bool) -> bytes | None:
        """The document at `/api`, `/apis`, `/api/v1`, `/apis/GROUP`, `/apis/GROUP/VERSION`; None when unknown."""
        if self._revision != self._table.revision:
            self._made.clear()
            self._revision = self._table.revision
        key = f"{path}?{aggregated}"
        if key not in self._made:
            document = self._make(path.strip("/").split("/"), aggregated)
            if document is None:
                return None
            self._made[key] = orjson.dumps(document)
        return self._made[key]

    def etag(self, document: bytes) -> str:
        return f'"{hashlib.sha256(document).hexdigest().upper()}"'

    def _make(self, parts: list[str], aggregated: bool) -> dict[str, object] | None:
        if parts[0] == "api":
            if len(parts) == 1:
                return self._aggregated([""]) if aggregated else self._core()
            return self._resources("", parts[1]) if len(parts) == 2 else None
        groups = [group for group in self._table.groups() if group]
        if len(parts) == 1:
            if aggregated:
                return self._aggregated(groups)
            listed = [self._group(group) for group in groups]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        if parts[1] not in groups:
            return None
        if len(parts) == 2:
            return {"kind": "APIGroup", "apiVersion": "v1", **self._group(parts[1])}
        return self._resources(parts[1], parts[2]) if len(parts) == 3 else None

    def _core(self) -> dict[str, object]:
        return {
            "kind": "APIVersions",
            "versions": self._table.versions(""),
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": self.address}],
        }

    def _group(self, group: str) -> dict[str, object]:
        versions = [
            {"groupVersion": f"{group}/{version}", "version": version} for version in self._table.versions(group)
        ]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> dict[str, object] | None:
        rows = self._table.in_version(group, version)
        if not rows:
            return None
        listed: list[dict[str, object]] = []
        for row in rows:
            item: dict[str, object] = {
                "name": row.plural,
                "singularName": row.singular,
                "namespaced": row.namespaced,
                "kind": row.kind,
                "verbs": verbs_of(row),
            }
            if row.short_names:
                item["shortNames"] = list(row.short_names)
            if row.categories:
                item["categories"] = list(row.categories)
            if row not in NOT_STORED:
                digest = hashlib.sha256(f"{row.api_version}/{row.kind}".encode()).digest()[:8]
                item["storageVersionHash"] = base64.b64encode(digest).decode()
            listed.append(item)
            for subresource in row.subresources:
                kind_group, kind_version, kind = _kind_of(row, subresource)
                sub: dict[str, object] = {
                    "name": f"{row.plural}/{subresource}",
                    "singularName": "",
                    "namespaced": row.namespaced,
                }
                if (kind_group, kind_version) != (group, version):
                    sub["group"], sub["version"] = kind_group, kind_version
                sub["kind"] = kind
                sub["verbs"] = _SUBRESOURCE_VERBS[subresource]
                listed.append(sub)
        group_version = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}

    def _aggregated(self, groups: list[str]) -> dict[str, object]:
        items: list[dict[str, object]] = []
        for group in groups:
            versions = []
            for version in self._table.versions(group):
                resources = [_aggregated_resource(row) for row in self._table.in_version(group, version)]
                versions.append({"version": version, "resources": resources, "freshness": "Current"})
            items.append({"metadata": {"name": group} if group else {}, "versions": versions})
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def verbs_of(row: Resource) -> list[str]:
    if row in NOT_STORED:
        if row.group == "metrics.k8s.io":
            return ["get", "list"]
        return ["get", "list"] if row.plural == "componentstatuses" else ["create"]
    return ALL_VERBS


def _kind_of(row: Resource, subresource: str) -> tuple[str, str, str]:
    if subresource == "proxy":
        return "", "v1", _PROXY_KINDS.get(row.plural, row.kind)
    return _SUBRESOURCE_KINDS.get(subresource, (row.group, row.version, row.kind))


def _aggregated_resource(row: Resource) -> dict[str, object]:
    made: dict[str, object] = {
        "resource": row.plural,
        "responseKind": {"group": row.group, "version": row.version, "kind": row.kind},
        "scope": "Namespaced" if row.namespaced else "Cluster",
        "singularResource": row.singular,
        "verbs": verbs_of(row),
    }
    if row.short_names:
        made["shortNames"] = list(row.short_names)
    if row.categories:
        made["categories"] = list(row.categories)
    if row.subresources:
        subs = []
        for subresource in row.subresources:
            group, version, kind = _kind_of(row, subresource)
            subs.append(
                {
                    "subresource": subresource,
                    "responseKind": {"group": group, "version": version, "kind": kind},
                    "verbs": _SUBRESOURCE_VERBS[subresource],
                }
            )
        made["subresources"] = subs
    return made
