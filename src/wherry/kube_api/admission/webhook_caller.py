"""POSTs a review to a webhook: at a URL, or at a service of the cluster (through one of its endpoints)."""

import asyncio
import base64
import ssl
from typing import TYPE_CHECKING, Any

import orjson

from wherry.schema import builtin
from wherry.schema.resource import Object

if TYPE_CHECKING:
    import aiohttp

    from wherry.kube_api.api import Api

MAX_ANSWER = 8 << 20


class CallFailed(Exception):
    """No usable answer; the message says why."""


class Caller:
    """Keeps its connections. The HTTP client is loaded for the first webhook (25 MiB that few clusters need)."""

    def __init__(self, api: "Api") -> None:
        self._api = api
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, config: Object, review: Object, seconds: float) -> Any:
        """The decoded answer. Raises CallFailed."""
        import aiohttp

        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(json_serialize=lambda value: orjson.dumps(value).decode())
        shown = config.get("url") or ""
        url, hostname = shown, None
        if not url:
            url, shown, hostname = self._service(config.get("service") or {})
        shown = f'Post "{shown}?timeout={seconds:g}s"'
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.post(
                    url,
                    json=review,
                    params={"timeout": f"{seconds:g}s"},
                    ssl=self._context(config.get("caBundle") or ""),
                    server_hostname=hostname,
                    headers={"Accept": "application/json"},
                ) as response,
            ):
                body = await response.content.read(MAX_ANSWER)
                if response.status != 200:
                    raise CallFailed(f"an error on the server ({body[:256].decode(errors='replace')!r}) has prevented "
                                     f"the request from succeeding: status {response.status}")  # fmt: skip
                return orjson.loads(body)
        except TimeoutError:
            raise CallFailed(f"failed to call webhook: {shown}: context deadline exceeded") from None
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise CallFailed(f"failed to call webhook: {shown}: {error}") from None
        except orjson.JSONDecodeError as error:
            raise CallFailed(f"the answer is no JSON: {error}") from None

    def _context(self, bundle: str) -> ssl.SSLContext:
        context = self._contexts.get(bundle)
        if context is None:
            context = ssl.create_default_context()
            if bundle:
                try:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                    context.load_verify_locations(cadata=base64.b64decode(bundle).decode())
                except (ValueError, ssl.SSLError) as error:
                    raise CallFailed(f"caBundle: {error}") from None
            if len(self._contexts) > 64:
                self._contexts.clear()
            self._contexts[bundle] = context
        return context

    def _service(self, service: Object) -> tuple[str, str, str]:
        """(URL of an endpoint, URL as messages show it, the name in the certificate)."""
        namespace, name = service.get("namespace") or "", service.get("name") or ""
        port, path = service.get("port") or 443, service.get("path") or "/"
        hostname = f"{name}.{namespace}.svc"
        path = path if path.startswith("/") else f"/{path}"
        shown = f"https://{hostname}:{port}{path}"
        entry = self._api.cached(builtin.SERVICES, namespace, name)
        if entry is None:
            raise CallFailed(f'failed to call webhook: Post "{shown}": service "{name}" not found')
        ports = [one for one in entry.shared()["spec"].get("ports") or () if one.get("port") == port]
        if not ports:
            raise CallFailed(
                f'failed to call webhook: Post "{shown}": no service port {port} found for service "{name}"'
            )
        wanted = ports[0].get("name") or ""
        for slice_ in self._api.cache_of(builtin.ENDPOINT_SLICES).entries(namespace):
            obj = slice_.shared()
            if (obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != name:
                continue
            for number in (one["port"] for one in obj.get("ports") or () if (one.get("name") or "") == wanted):
                for endpoint in obj.get("endpoints") or ():
                    if (endpoint.get("conditions") or {}).get("ready", True):
                        return f"https://{endpoint['addresses'][0]}:{number}{path}", shown, hostname
        raise CallFailed(f'failed to call webhook: Post "{shown}": no endpoints available for service "{name}"')
