"""How services, endpoints, ingresses and network policies are shown."""

from datetime import datetime
from typing import Any

from wherry.schema.printers.columns import (
    NONE,
    UNSET,
    Column,
    JsonDict,
    Printer,
    abbreviated,
    age_of,
    columns,
    format_labels,
    name_of,
    wide,
)
from wherry.schema.selectors import format_label_selector


def _balancer(status: JsonDict) -> list[str]:
    ingress = ((status.get("loadBalancer") or {}).get("ingress")) or []
    return sorted({one.get("ip") or one.get("hostname") or "" for one in ingress} - {""})


def _external_ip(spec: JsonDict, status: JsonDict) -> str:
    own = list(spec.get("externalIPs") or ())
    kind = spec.get("type")
    if kind == "ExternalName":
        return spec.get("externalName") or ""
    if kind == "LoadBalancer":
        shown = ",".join(_balancer(status))
        if own:
            return ",".join(([shown] if shown else []) + own)
        return shown or "<pending>"
    return ",".join(own) or NONE


def _port(port: JsonDict) -> str:
    node = port.get("nodePort")
    return f"{port.get('port', 0)}{f':{node}' if node else ''}/{port.get('protocol', 'TCP')}"


def _service(obj: JsonDict, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        name_of(obj),
        spec.get("type") or "",
        (spec.get("clusterIPs") or [spec.get("clusterIP")])[0] or NONE,
        _external_ip(spec, obj.get("status") or {}),
        ",".join(_port(one) for one in spec.get("ports") or ()) or NONE,
        age_of(obj, now),
        format_labels(spec.get("selector")),
    ]


SERVICES = Printer(columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", wide("Selector")), _service)


def _endpoints(obj: JsonDict, now: datetime) -> list[Any]:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses, ports = subset.get("addresses") or [], subset.get("ports") or []
        if not ports:
            found += [_host(address.get("ip", "")) for address in addresses]
        found += [f"{_host(one.get('ip', ''))}:{port.get('port', 0)}" for port in ports for one in addresses]
    return [name_of(obj), abbreviated(found), age_of(obj, now)]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


ENDPOINTS = Printer(columns("Name", "Endpoints", "Age"), _endpoints)


def _endpoint_slice(obj: JsonDict, now: datetime) -> list[Any]:
    ports = [str(one["port"]) if one.get("port") is not None else "*" for one in obj.get("ports") or ()]
    addresses = [address for one in obj.get("endpoints") or () for address in one.get("addresses") or ()]
    return [
        name_of(obj),
        obj.get("addressType") or "",
        abbreviated(ports, empty=UNSET),
        abbreviated(addresses, empty=UNSET),
        age_of(obj, now),
    ]


ENDPOINT_SLICES = Printer(columns("Name", "AddressType", "Ports", "Endpoints", "Age"), _endpoint_slice)


def _ingress(obj: JsonDict, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    hosts = list(dict.fromkeys(one["host"] for one in spec.get("rules") or () if one.get("host")))
    return [
        name_of(obj),
        spec.get("ingressClassName") or NONE,
        abbreviated(hosts, empty="*"),
        ",".join(_balancer(obj.get("status") or {})),
        "80, 443" if spec.get("tls") else "80",
        age_of(obj, now),
    ]


INGRESSES = Printer(columns("Name", "Class", "Hosts", "Address", "Ports", "Age"), _ingress)


def _ingress_class(obj: JsonDict, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    parameters = spec.get("parameters")
    shown = NONE
    if parameters:
        group = parameters.get("apiGroup")
        kind = parameters.get("kind", "")
        shown = f"{kind}.{group}/{parameters.get('name', '')}" if group else f"{kind}/{parameters.get('name', '')}"
    return [name_of(obj), spec.get("controller") or "", shown, age_of(obj, now)]


INGRESS_CLASSES = Printer(columns("Name", "Controller", "Parameters", "Age"), _ingress_class)


def _network_policy(obj: JsonDict, now: datetime) -> list[Any]:
    selector = (obj.get("spec") or {}).get("podSelector") or {}
    return [name_of(obj), format_label_selector(selector), age_of(obj, now)]


NETWORK_POLICIES = Printer(columns("Name", "Pod-Selector", "Age"), _network_policy)


def _service_cidr(obj: JsonDict, now: datetime) -> list[Any]:
    return [name_of(obj), ",".join((obj.get("spec") or {}).get("cidrs") or ()), age_of(obj, now)]


SERVICE_CIDRS = Printer(columns("Name", "CIDRs", "Age"), _service_cidr)


def _ip_address(obj: JsonDict, now: datetime) -> list[Any]:
    parent = (obj.get("spec") or {}).get("parentRef") or {}
    parts = [parent.get("resource") or ""]
    if parent.get("group"):
        parts[0] += f".{parent['group']}"
    parts += [part for part in (parent.get("namespace"), parent.get("name")) if part]
    return [name_of(obj), "/".join(parts)]


IP_ADDRESSES = Printer(columns("Name", Column("ParentRef")), _ip_address)
