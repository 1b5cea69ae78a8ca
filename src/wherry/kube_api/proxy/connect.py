"""Which node, address and path a log, exec, attach, port-forward or proxy request goes to.

A node's address and port come from its status (`addresses`, `daemonEndpoints.kubeletEndpoint.Port`); the API server
shows its own client certificate there. Paths are those of the kubelet's API.
"""

import ssl
from urllib.parse import quote, urlencode

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.kube_api.http.message import Request, text_response
from wherry.kube_api.http.protocol import Answer
from wherry.kube_api.http.routes import Route
from wherry.kube_api.pki import Pki
from wherry.kube_api.proxy.relay import Target, relay
from wherry.schema import builtin, errors
from wherry.schema.resource import Object

DEFAULT_KUBELET_PORT = 10250
LOG_OPTIONS = (
    "follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream",
)  # fmt: skip


class Connector:
    """`serve(request, call, route)` runs the whole connection."""

    def __init__(self, api: Api, pki: Pki) -> None:
        self._api = api
        self._pki = pki
        self._context: ssl.SSLContext | None = None

    async def serve(self, request: Request, call: Call, route: Route) -> Answer:
        """Raises NotFound, BadRequest (which container?), ServiceUnavailable (the node cannot be reached)."""
        if call.subresource == "proxy":
            target = await self._proxied(request, call, route)
        elif call.subresource == "log":
            log_target = await self._log(request, call)
            if log_target is None:
                return text_response("")
            target = log_target
        else:
            target = await self._stream(request, call)
        return await relay(request, target)

    # -- targets

    async def _log(self, request: Request, call: Call) -> Target | None:
        pod = await self._pod(call)
        query = request.query
        _log_options(query)
        container = _container(pod, query.get("container", [""])[0], call)
        kept = [(name, query[name][0]) for name in LOG_OPTIONS if name in query]
        node = _node_of(pod, call)
        if node is None:
            return None
        path = f"/containerLogs/{quote(call.namespace or '')}/{quote(call.name or '')}/{quote(container)}"
        return self._kubelet(await self._node(node), path, urlencode(kept))

    async def _stream(self, request: Request, call: Call) -> Target:
        pod = await self._pod(call)
        query = request.query
        if "upgrade" not in request.headers.get("connection", "").lower():
            raise errors.BadRequest("Upgrade request required")
        node = _node_of(pod, call)
        if node is None:
            raise errors.BadRequest(f"pod {call.name} does not have a host assigned")
        phase = (pod.get("status") or {}).get("phase")
        if call.subresource in ("exec", "attach"):
            container = _container(pod, query.get("container", [""])[0], call)
            if phase in ("Succeeded", "Failed"):
                raise errors.BadRequest(f"cannot exec into a container in a completed pod; current phase is {phase}")
            path = f"/{call.subresource}/{quote(call.namespace or '')}/{quote(call.name or '')}/{quote(container)}"
            pairs = []
            for name, kubelet_name in (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")):
                if query.get(name, ["false"])[0].lower() in ("1", "true"):
                    pairs.append((kubelet_name, "1"))
            pairs += [("command", one) for one in query.get("command", [])]
            return self._kubelet(await self._node(node), path, urlencode(pairs))
        path = f"/portForward/{quote(call.namespace or '')}/{quote(call.name or '')}"
        return self._kubelet(await self._node(node), path, urlencode([("port", one) for one in query.get("ports", [])]))

    async def _proxied(self, request: Request, call: Call, route: Route) -> Target:
        tail = "/" + route.tail
        if request.path.endswith("/") and not tail.endswith("/"):
            tail += "/"
        tail = quote(tail, safe="/:@!$&'()*+,;=~-._")
        scheme, name, port = _split_name(call.name or "")
        prefix = request.path[: request.path.index("/proxy") + len("/proxy")]
        if call.resource == builtin.NODES:
            node = await self._api.read(builtin.NODES, None, name)
            if node is None:
                raise self._api.not_found(builtin.NODES, name)
            return self._kubelet(node.peek(), tail, request.query_string, prefix=prefix)
        if call.resource == builtin.PODS:
            pod = await self._pod(call.with_(name=name))
            address = (pod.get("status") or {}).get("podIP")
            if not address:
                raise errors.ServiceUnavailable("address not allowed")
            number = _pod_port(pod, port)
        else:
            address, number = await self._service(call, name, port)
        tls = None
        if scheme == "https":
            # Pods and services have certificates of their own making: nobody can tell which to trust.
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        return Target(address, number, tail, request.query_string, tls, prefix)

    async def _service(self, call: Call, name: str, port: str) -> tuple[str, int]:
        entry = await self._api.read(builtin.SERVICES, call.namespace, name)
        if entry is None:
            raise self._api.not_found(builtin.SERVICES, name)
        ports = entry.peek()["spec"].get("ports") or []
        chosen = [one for one in ports if not port or port in (one.get("name"), str(one.get("port")))]
        if not chosen or (not port and len(ports) > 1 and not any(not one.get("name") for one in ports)):
            raise errors.ServiceUnavailable(f'no service port "{port}" found for service "{name}"')
        wanted = chosen[0].get("name") or ""
        for slice_ in self._api.cache_of(builtin.ENDPOINT_SLICES).entries(call.namespace):
            obj = slice_.peek()
            if (obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != name:
                continue
            for number in (one["port"] for one in obj.get("ports") or () if (one.get("name") or "") == wanted):
                for endpoint in obj.get("endpoints") or ():
                    if (endpoint.get("conditions") or {}).get("ready", True):
                        return endpoint["addresses"][0], number
        raise errors.ServiceUnavailable(f'no endpoints available for service "{name}"')

    # -- looking up

    async def _pod(self, call: Call) -> Object:
        entry = await self._api.read(builtin.PODS, call.namespace, call.name or "")
        if entry is None:
            raise self._api.not_found(builtin.PODS, call.name or "")
        return entry.peek()

    async def _node(self, name: str) -> Object:
        entry = await self._api.read(builtin.NODES, None, name)
        if entry is None:
            raise self._api.not_found(builtin.NODES, name)
        return entry.peek()

    def _kubelet(self, node: Object, path: str, query: str, *, prefix: str = "") -> Target:
        status = node.get("status") or {}
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or DEFAULT_KUBELET_PORT
        return Target(node_address(node), port, path, query, self._tls(), prefix)

    def _tls(self) -> ssl.SSLContext:
        """Mutual TLS; nodes are known by the authority that signed them, under any of their addresses."""
        if self._context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.load_verify_locations(self._pki.ca.cert)
            context.load_cert_chain(self._pki.kubelet_client.cert, self._pki.kubelet_client.key)
            self._context = context
        return self._context


def node_address(node: Object) -> str:
    """Where the API server reaches a node. Raises ServiceUnavailable."""
    addresses = {one.get("type"): one.get("address") for one in (node.get("status") or {}).get("addresses") or ()}
    for kind in ("InternalIP", "Hostname", "ExternalIP"):
        if addresses.get(kind):
            return str(addresses[kind])
    raise errors.ServiceUnavailable(f"no preferred addresses found; known addresses: {list(addresses.values())}")


def _node_of(pod: Object, call: Call) -> str | None:
    node: str | None = (pod.get("spec") or {}).get("nodeName") or None
    return node


def _container(pod: Object, name: str, call: Call) -> str:
    """The container that is meant. Raises BadRequest in the API server's words."""
    spec = pod.get("spec") or {}
    groups = {field: [one["name"] for one in spec.get(field) or ()]
              for field in ("initContainers", "containers", "ephemeralContainers")}  # fmt: skip
    if name:
        if any(name in names for names in groups.values()):
            return name
        raise errors.BadRequest(f"container {name} is not valid for pod {call.name}")
    names = groups["containers"]
    if len(names) == 1:
        return str(names[0])
    if call.subresource != "log":
        default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
        return str(default if default in names else names[0])
    text = f"a container name must be specified for pod {call.name}, choose one of: [{' '.join(names)}]"
    if groups["initContainers"]:
        text += f" or one of the init containers: [{' '.join(groups['initContainers'])}]"
    raise errors.BadRequest(text)


def _log_options(query: dict[str, list[str]]) -> None:
    """Raises Invalid as the API server does for a PodLogOptions."""
    causes = []
    for name, low in (("tailLines", 0), ("sinceSeconds", 1), ("limitBytes", 1)):
        if name in query:
            text = query[name][0]
            if not text.lstrip("-").isdecimal():
                raise errors.BadRequest(f'{name}: strconv.ParseInt: parsing "{text}": invalid syntax')
            if int(text) < low:
                why = "must be greater than or equal to 0" if low == 0 else "must be greater than 0"
                causes.append(errors.Cause("FieldValueInvalid", f"Invalid value: {text}: {why}", name))
    if "sinceSeconds" in query and "sinceTime" in query:
        causes.append(
            errors.Cause(
                "FieldValueForbidden", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", ""
            )
        )
    if causes:
        raise errors.invalid("", "PodLogOptions", "", causes)


def _split_name(text: str) -> tuple[str, str, str]:
    """`scheme:name:port`, `name:port` or `name`."""
    parts = text.split(":")
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    return ("", parts[0], parts[1]) if len(parts) == 2 else ("", text, "")


def _pod_port(pod: Object, port: str) -> int:
    ports = [one for container in pod["spec"].get("containers") or () for one in container.get("ports") or ()]
    if not port:
        return int(ports[0]["containerPort"]) if ports else 80
    if port.isdecimal():
        return int(port)
    for one in ports:
        if one.get("name") == port:
            return int(one["containerPort"])
    raise errors.ServiceUnavailable(f"no port named {port}")
