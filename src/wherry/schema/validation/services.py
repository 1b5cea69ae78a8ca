"""Checks of Services, Endpoints and EndpointSlices."""

import ipaddress
from typing import Any, Final

from wherry.schema import names
from wherry.schema.resource import Object
from wherry.schema.validation import metadata
from wherry.schema.validation.containers import PROTOCOLS, port_or_name
from wherry.schema.validation.field import Causes
from wherry.schema.validation.pods import ip_address

JsonDict = dict[str, Any]

TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_EXTERNAL: Final = ("NodePort", "LoadBalancer")
_MAX_AFFINITY_SECONDS: Final = 86400


def service_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    kind, ports = spec.get("type"), spec.get("ports") or []
    headless = spec.get("clusterIP") == "None"
    if not ports and not headless and kind != "ExternalName":
        causes.required("spec.ports")
    if headless and kind in _EXTERNAL:
        causes.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        if spec.get("clusterIPs") or spec.get("clusterIP"):
            causes.forbidden("spec.clusterIPs", "may not be set for ExternalName services")
        name = (spec.get("externalName") or "").removesuffix(".")
        if name:
            causes.all_invalid("spec.externalName", name, names.dns_subdomain(name))
        else:
            causes.required("spec.externalName")
    _ports(ports, kind, causes)
    metadata.labels(spec.get("selector"), "spec.selector", causes)
    _affinity(spec, causes)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        ip_address(address, f"spec.externalIPs[{index}]", causes)
        not_special(address, f"spec.externalIPs[{index}]", causes)
    causes.one_of("spec.type", kind, TYPES)
    if kind != "ExternalName" and spec.get("clusterIP") not in (None, "", "None"):
        ip_address(spec["clusterIP"], "spec.clusterIPs[0]", causes)
    listed = spec.get("clusterIPs")
    if listed and kind != "ExternalName":
        if not spec.get("clusterIP"):
            causes.invalid("spec.clusterIPs", listed, "must be empty when `clusterIP` is not specified")
        elif listed[0] != spec["clusterIP"]:
            causes.invalid("spec.clusterIPs", listed, "first value must match `clusterIP`")
    if spec.get("loadBalancerSourceRanges"):
        if kind != "LoadBalancer":
            causes.forbidden("spec.loadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'")
        for index, cidr in enumerate(spec["loadBalancerSourceRanges"]):
            network(cidr.strip(), f"spec.loadBalancerSourceRanges[{index}]", causes)
    if spec.get("allocateLoadBalancerNodePorts") is not None and kind != "LoadBalancer":
        causes.forbidden("spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'")
    if spec.get("loadBalancerClass"):
        if kind != "LoadBalancer":
            causes.forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")
        causes.all_invalid(
            "spec.loadBalancerClass", spec["loadBalancerClass"], names.qualified_name(spec["loadBalancerClass"])
        )
    _policies(spec, kind, causes)


def not_special(value: str, path: str, causes: Causes) -> None:
    """An address that other machines could reach; what is no address has been told already."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return
    if address.is_unspecified:
        causes.invalid(path, value, "may not be unspecified (0.0.0.0 or ::)")
    if address.is_loopback:
        causes.invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        causes.invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if address.is_multicast and (str(address).startswith("224.0.0.") or str(address).startswith("ff02:")):
        causes.invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


def network(value: str, path: str, causes: Causes) -> None:
    """A CIDR block such as 10.9.8.0/24."""
    try:
        if "/" not in value:
            raise ValueError
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        causes.invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")


def _policies(spec: JsonDict, kind: str | None, causes: Causes) -> None:
    policy = spec.get("externalTrafficPolicy")
    if policy and kind not in _EXTERNAL and not (kind == "ClusterIP" and spec.get("externalIPs")):
        causes.invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
    elif policy and policy not in ("Cluster", "Local"):
        causes.unsupported("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    if (check := spec.get("healthCheckNodePort")) and not (kind == "LoadBalancer" and policy == "Local"):
        causes.invalid(
            "spec.healthCheckNodePort",
            check,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        )
    if spec.get("internalTrafficPolicy") not in (None, "Cluster", "Local"):
        causes.unsupported("spec.internalTrafficPolicy", spec["internalTrafficPolicy"], ("Cluster", "Local"))
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in ("IPv4", "IPv6"):
            causes.unsupported(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6"))
    policies = ("SingleStack", "PreferDualStack", "RequireDualStack")
    if spec.get("ipFamilyPolicy") not in (None, *policies):
        causes.unsupported("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], sorted(policies))


def _ports(ports: list[JsonDict], kind: str | None, causes: Causes) -> None:
    seen: set[str] = set()
    keys: set[tuple[Any, Any]] = set()
    node_ports: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if not name:
            if len(ports) > 1:
                causes.required(f"{where}.name")
        else:
            causes.all_invalid(f"{where}.name", name, names.dns_label(name))
            if name in seen:
                causes.duplicate(f"{where}.name", name)
            seen.add(name)
        number, protocol = port.get("port") or 0, port.get("protocol")
        causes.all_invalid(f"{where}.port", number, names.port_number(number))
        causes.one_of(f"{where}.protocol", protocol, PROTOCOLS)
        port_or_name(port.get("targetPort"), f"{where}.targetPort", causes)
        if application := port.get("appProtocol"):
            causes.all_invalid(f"{where}.appProtocol", application, names.qualified_name(application))
        node_port = port.get("nodePort") or 0
        if node_port and kind in ("ClusterIP", "ExternalName"):
            causes.forbidden(f"{where}.nodePort", f"may not be used when `type` is '{kind}'")
        if node_port and (protocol, node_port) in node_ports:
            causes.duplicate(f"{where}.nodePort", node_port)
        node_ports.add((protocol, node_port))
        if (protocol, number) in keys:
            shown = {
                "Name": "",
                "Protocol": protocol,
                "AppProtocol": None,
                "Port": number,
                "TargetPort": 0,
                "NodePort": 0,
            }
            causes.duplicate(where, shown)
        keys.add((protocol, number))


def _affinity(spec: JsonDict, causes: Causes) -> None:
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    causes.one_of("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    path = "spec.sessionAffinityConfig"
    if affinity == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            causes.required(f"{path}.clientIP.timeoutSeconds", "must be set when session affinity is ClientIP")
        elif not 0 < seconds <= _MAX_AFFINITY_SECONDS:
            causes.invalid(
                f"{path}.clientIP.timeoutSeconds",
                seconds,
                f"must be greater than 0 and less than {_MAX_AFFINITY_SECONDS}",
            )
    elif config is not None:
        causes.forbidden(path, "must not be set when session affinity is None")


def service_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource == "status":
        return
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if "ExternalName" not in (after.get("type"), before.get("type")):
        was, now = before.get("clusterIPs") or [], after.get("clusterIPs") or []
        if was and now[:1] != was[:1]:
            causes.invalid("spec.clusterIPs[0]", now, "may not change once set")
        families, kept = before.get("ipFamilies") or [], after.get("ipFamilies") or []
        if families and kept[:1] != families[:1]:
            causes.invalid("spec.ipFamilies[0]", kept, "may not change once set")
    if before.get("type") == after.get("type") == "LoadBalancer" and before.get("loadBalancerClass") != after.get(
        "loadBalancerClass"
    ):
        causes.invalid("spec.loadBalancerClass", after.get("loadBalancerClass"), "may not change once set")
    service_create(new, causes)


def endpoints_create(obj: Object, causes: Causes) -> None:
    for index, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            causes.required(path, "must specify `addresses` or `notReadyAddresses`")
        for field in ("addresses", "notReadyAddresses"):
            for at, address in enumerate(subset.get(field) or ()):
                _endpoint_address(address.get("ip") or "", f"{path}.{field}[{at}].ip", causes)
        ports = subset.get("ports") or []
        for at, port in enumerate(ports):
            where = f"{path}.ports[{at}]"
            if not port.get("name"):
                if len(ports) > 1:
                    causes.required(f"{where}.name")
            else:
                causes.all_invalid(f"{where}.name", port["name"], names.dns_label(port["name"]))
            causes.all_invalid(f"{where}.port", port.get("port") or 0, names.port_number(port.get("port") or 0))
            causes.one_of(f"{where}.protocol", port.get("protocol"), PROTOCOLS)


def _endpoint_address(value: str, path: str, causes: Causes) -> None:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        causes.invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
        return
    if address.is_unspecified:
        causes.invalid(path, value, f"may not be unspecified ({value})")
    elif address.is_loopback:
        causes.invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    elif address.is_link_local:
        causes.invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")


_ADDRESS_TYPES: Final = ("FQDN", "IPv4", "IPv6")


def endpointslice_create(obj: Object, causes: Causes) -> None:
    kind = obj.get("addressType")
    causes.one_of("addressType", kind, _ADDRESS_TYPES)
    endpoints, ports = obj.get("endpoints") or [], obj.get("ports") or []
    if len(endpoints) > 1000:
        causes.too_many("endpoints", len(endpoints), 1000)
    for index, endpoint in enumerate(endpoints):
        addresses = endpoint.get("addresses") or []
        path = f"endpoints[{index}].addresses"
        if not addresses:
            causes.required(path, "must contain at least 1 address")
        elif len(addresses) > 100:
            causes.too_many(path, len(addresses), 100)
        for at, address in enumerate(addresses):
            if kind == "FQDN":
                causes.all_invalid(f"{path}[{at}]", address, names.dns_subdomain(address))
            else:
                _endpoint_address(address, f"{path}[{at}]", causes)
        hostname = endpoint.get("hostname")
        if hostname is not None:
            causes.all_invalid(f"endpoints[{index}].hostname", hostname, names.dns_label(hostname))
    if len(ports) > 20000:
        causes.too_many("ports", len(ports), 20000)
    seen: set[str] = set()
    for index, port in enumerate(ports):
        name = port.get("name") or ""
        if name:
            causes.all_invalid(f"ports[{index}].name", name, names.dns_label(name))
        if name in seen:
            causes.duplicate(f"ports[{index}].name", name)
        seen.add(name)
        causes.one_of(f"ports[{index}].protocol", port.get("protocol"), PROTOCOLS)


def endpointslice_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    endpointslice_create(new, causes)
    causes.immutable("addressType", new.get("addressType"), old.get("addressType"))
