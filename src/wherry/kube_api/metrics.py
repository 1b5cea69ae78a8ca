"""/metrics: what the server counts, in the Prometheus text format and under Kubernetes' metric names."""

from collections.abc import Mapping

from wherry.kube_api.api import Api


def render(api: Api, requests: Mapping[tuple[str, str, int], int]) -> str:
    lines = [
        "# HELP apiserver_request_total Counter of apiserver requests broken out for each verb, resource and code.",
        "# TYPE apiserver_request_total counter",
    ]
    for (verb, resource, code), count in sorted(requests.items()):
        lines.append(
            f'apiserver_request_total{{code="{code}",resource="{_escape(resource)}",verb="{verb.upper()}"}} {count}'
        )
    lines += [
        "# HELP apiserver_storage_objects Number of stored objects at the time of last check split by kind.",
        "# TYPE apiserver_storage_objects gauge",
    ]
    for row in api.table:
        if api.stored_as(row) == row:
            count = api.cache_of(row).count
            lines.append(f'apiserver_storage_objects{{resource="{row.qualified}"}} {count}')
    lines += [
        "# HELP apiserver_current_resource_version The newest resourceVersion.",
        "# TYPE apiserver_current_resource_version gauge",
        f"apiserver_current_resource_version {api.cache.revision}",
    ]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
