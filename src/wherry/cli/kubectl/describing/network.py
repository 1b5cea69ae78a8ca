"""Services, endpoints, ingresses."""

from typing import Any

from wherry.cli.kubectl.describing.writer import Object, Writer, events, label_text
from wherry.cli.kubectl.errors import ServerError
from wherry.cli.kubectl.session import Session


def _slices(session: Session, namespace: str, service: str) -> list[Object]:
    query = {"labelSelector": f"kubernetes.io/service-name={service}"}
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    try:
        return list(session.http.get(path, query).get("items") or ())
    except ServerError:
        return []


def _endpoints(slices: list[Object], port_name: str | None) -> str:
    """`10.0.0.1:80,10.0.0.2:80 + 3 more...`: ready endpoints of a port; None means all ports."""
    found: list[str] = []
    more = 0
    for one in slices:
        ports: list[Any] = one.get("ports") or []
        for port in ports or ([{}] if not one.get("ports") else []):
            if ports and port_name is not None and (port.get("name") or "") != port_name:
                continue
            for endpoint in one.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                for address in endpoint.get("addresses") or ():
                    if len(found) == 3:
                        more += 1
                    else:
                        host = f"[{address}]" if ":" in address else address
                        found.append(f"{host}:{port['port']}" if port.get("port") is not None else address)
    text = ",".join(found)
    return f"{text} + {more} more..." if more else text


def service(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.field("Selector", label_text(spec.get("selector")))
    out.field("Type", spec.get("type", ""))
    if spec.get("ipFamilyPolicy"):
        out.field("IP Family Policy", spec["ipFamilyPolicy"])
    out.field("IP Families", ",".join(spec.get("ipFamilies") or ()) or "<none>")
    out.field("IP", spec.get("clusterIP", ""))
    out.field("IPs", ",".join(spec.get("clusterIPs") or ()) or "<none>")
    if spec.get("externalIPs"):
        out.field("External IPs", ",".join(spec["externalIPs"]))
    if spec.get("loadBalancerIP"):
        out.field("Desired LoadBalancer IP", spec["loadBalancerIP"])
    if spec.get("externalName"):
        out.field("External Name", spec["externalName"])
    ingress = (status.get("loadBalancer") or {}).get("ingress") or []
    if ingress:
        texts = [
            f"{i.get('ip') or i.get('hostname')}" + (f" ({i['ipMode']})" if i.get("ipMode") else "") for i in ingress
        ]
        out.field("LoadBalancer Ingress", ", ".join(texts))
    slices = _slices(session, meta["namespace"], meta["name"])
    for port in spec.get("ports") or ():
        name, protocol = port.get("name") or "<unset>", port.get("protocol", "TCP")
        out.line(0, f"Port:\t{name}\t{port['port']}/{protocol}")
        out.field("TargetPort", f"{port.get('targetPort', 0)}/{protocol}")
        if port.get("appProtocol"):
            out.field("AppProtocol", port["appProtocol"])
        if port.get("nodePort"):
            out.line(0, f"NodePort:\t{name}\t{port['nodePort']}/{protocol}")
        out.field("Endpoints", _endpoints(slices, port.get("name") or ""))
    out.field("Session Affinity", spec.get("sessionAffinity", ""))
    if spec.get("externalTrafficPolicy"):
        out.field("External Traffic Policy", spec["externalTrafficPolicy"])
    if spec.get("internalTrafficPolicy"):
        out.field("Internal Traffic Policy", spec["internalTrafficPolicy"])
    if spec.get("healthCheckNodePort"):
        out.field("HealthCheck NodePort", spec["healthCheckNodePort"])
    if spec.get("loadBalancerSourceRanges"):
        out.field("LoadBalancer Source Ranges", ",".join(spec["loadBalancerSourceRanges"]))
    events(out, found)


def endpoints(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta = obj["metadata"]
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.raw("Subsets:\n")
    for subset in obj.get("subsets") or ():
        for key, title in (("addresses", "Addresses"), ("notReadyAddresses", "NotReadyAddresses")):
            out.field(title, ",".join(one.get("ip", "") for one in subset.get(key) or ()) or "<none>", 1)
        if subset.get("ports"):
            out.line(1, "Ports:")
            out.line(2, "Name\tPort\tProtocol")
            out.line(2, "----\t----\t--------")
            for port in subset["ports"]:
                out.line(2, f"{port.get('name') or '<unset>'}\t{port['port']}\t{port.get('protocol', 'TCP')}")
        out.raw("\n")
    events(out, found)


def endpoint_slice(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta = obj["metadata"]
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.field("AddressType", obj.get("addressType", ""))
    if not obj.get("ports"):
        out.raw("Ports: <unset>\n")
    else:
        out.raw("Ports:\n")
        out.line(1, "Name\tPort\tProtocol")
        out.line(1, "----\t----\t--------")
        for port in obj["ports"]:
            out.line(1, f"{port.get('name') or '<unset>'}\t{port.get('port') or '<unset>'}\t{port.get('protocol', '')}")
    if not obj.get("endpoints"):
        out.raw("Endpoints: <none>\n")
    else:
        out.raw("Endpoints:\n")
        for endpoint in obj["endpoints"]:
            out.line(1, f"- Addresses:\t{', '.join(endpoint.get('addresses') or ()) or '<none>'}")
            out.line(2, "Conditions:")
            ready = (endpoint.get("conditions") or {}).get("ready")
            out.field("Ready", "<unset>" if ready is None else "true" if ready else "false", 3)
            out.field("Hostname", endpoint.get("hostname") or "<unset>", 2)
            if endpoint.get("targetRef"):
                out.field("TargetRef", f"{endpoint['targetRef'].get('kind')}/{endpoint['targetRef'].get('name')}", 2)
            out.field("NodeName", endpoint.get("nodeName") or "<unset>", 2)
            out.field("Zone", endpoint.get("zone") or "<unset>", 2)
    events(out, found)


def _backend(session: Session, namespace: str, backend: Object) -> str:
    """`web:80 (10.0.0.1:8080)`, or the resource that it names."""
    reference = backend.get("service")
    if not reference:
        resource = backend.get("resource") or {}
        return (
            f"APIGroup: {resource.get('apiGroup', '')}, Kind: {resource.get('kind', '')}, Name: "
            f"{resource.get('name', '')}"
        )
    port = reference.get("port") or {}
    shown = f"{reference['name']}:{port.get('number') or port.get('name', '')}"
    try:
        target = session.http.get(f"/api/v1/namespaces/{namespace}/services/{reference['name']}")
    except ServerError as error:
        return (
            f"{shown} (<error: {error}>)"
            if error.status != 404
            else f'{shown} (<error: services "{reference["name"]}" not found>)'
        )
    name = None
    for one in (target.get("spec") or {}).get("ports") or ():
        if one["port"] == port.get("number") or (port.get("name") and one.get("name") == port["name"]):
            name = one.get("name") or ""
    return f"{shown} ({_endpoints(_slices(session, namespace, reference['name']), name)})"


def ingress(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    namespace = meta["namespace"]
    out.field("Name", meta["name"])
    out.labels("Labels", meta.get("labels"))
    out.field("Namespace", namespace)
    addresses = [
        i.get("ip") or i.get("hostname") or "" for i in (status.get("loadBalancer") or {}).get("ingress") or ()
    ]
    out.field("Address", ",".join(addresses))
    out.field("Ingress Class", spec.get("ingressClassName") or "<none>")
    default = _backend(session, namespace, spec["defaultBackend"]) if spec.get("defaultBackend") else "<default>"
    out.field("Default backend", default)
    if spec.get("tls"):
        out.raw("TLS:\n")
        for tls in spec["tls"]:
            hosts = ",".join(tls.get("hosts") or ())
            out.line(1, f"{tls['secretName']} terminates {hosts}" if tls.get("secretName") else f"SNI routes {hosts}")
    out.raw("Rules:\n  Host\tPath\tBackends\n")
    out.line(1, "----\t----\t--------")
    count = 0
    for rule in spec.get("rules") or ():
        paths = (rule.get("http") or {}).get("paths")
        if paths is None:
            continue
        count += 1
        out.line(1, f"{rule.get('host') or '*'}\t")
        for path in paths:
            out.line(2, f"\t{path.get('path', '')} \t{_backend(session, namespace, path.get('backend') or {})}")
    if not count:
        out.line(1, f"*\t*\t{default}")
    out.annotations(meta.get("annotations"))
    events(out, found)


def ingress_class(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec = obj["metadata"], obj.get("spec") or {}
    out.field("Name", meta["name"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.field("Controller", spec.get("controller", ""))
    parameters = spec.get("parameters")
    if parameters:
        out.raw("Parameters:\n")
        if parameters.get("apiGroup"):
            out.field("APIGroup", parameters["apiGroup"], 1)
        out.field("Kind", parameters.get("kind", ""), 1)
        out.field("Name", parameters.get("name", ""), 1)
    events(out, found)
