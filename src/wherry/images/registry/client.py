"""One registry's HTTP API for one repository: manifests, blobs, uploads, and how to prove who we are.

Specified in the OCI distribution specification 1.1 and in Docker's "Registry token authentication". Errors are
the words that Docker shows for them.
"""

import base64
import json
import os
import re
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urljoin, urlsplit

import aiohttp

from ..errors import DigestMismatch, Forbidden, ImageError, InvalidParameter, NotFound, Unauthorized, Unavailable
from .endpoints import Endpoint, tls_context

MAX_MANIFEST = 4 << 20
_CHALLENGE = re.compile(r'([a-zA-Z]+)="((?:[^"\\]|\\.)*)"')


class RegistryClient:
    """A session with one endpoint for one repository. Use it as an async context manager."""

    def __init__(self, endpoint: Endpoint, repository: str, credentials: dict[str, Any], *, push: bool = False) -> None:
        self.endpoint = endpoint
        self.repository = repository
        self._credentials = credentials
        self._actions = "pull,push" if push else "pull"
        self._session: aiohttp.ClientSession
        self._authorization: str | None = None
        self._mount_sources: list[str] = []

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=120)
        ssl_context = tls_context(self.endpoint) if self.endpoint.url.startswith("https") else False
        connector = aiohttp.TCPConnector(ssl=ssl_context, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, trust_env=True, auto_decompress=False,
            headers={"User-Agent": "wherry", "Docker-Distribution-Api-Version": "registry/2.0"},
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    def url(self, path: str) -> str:
        return f"{self.endpoint.url}/v2/{self.repository}/{path}"

    async def ping(self) -> None:
        """`GET /v2/`: is it a registry, and does it know us? Raises Unavailable, Unauthorized."""
        async with self.request("GET", f"{self.endpoint.url}/v2/") as response:
            if response.status >= 400 and response.status != 404:
                raise await _error(response, self.repository)

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        accept: list[str] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request, repeated once with the authorization that a 401 asks for. `body` must be repeatable then."""
        sent = dict(headers or {})
        if accept:
            sent["Accept"] = ", ".join(accept)
        for attempt in (0, 1):
            if self._authorization and urlsplit(url).netloc == self.endpoint.host:
                sent["Authorization"] = self._authorization
            try:
                response = await self._session.request(method, url, data=body, headers=sent)
            except aiohttp.ClientError as error:
                raise Unavailable(_transport_error(method, url, error)) from error
            except TimeoutError:
                raise Unavailable(f'{method.title()} "{url}": net/http: request canceled (timeout)') from None
            if response.status == 401 and attempt == 0 and await self._authorize(response):
                response.release()
                continue
            try:
                yield response
            finally:
                response.release()
            return

    async def _authorize(self, response: aiohttp.ClientResponse) -> bool:
        """Answer the challenge; False when we have nothing (more) to say."""
        before = self._authorization
        for challenge in response.headers.getall("WWW-Authenticate", []):
            scheme, _, rest = challenge.partition(" ")
            parameters = {key.lower(): value for key, value in _CHALLENGE.findall(rest)}
            if scheme.lower() == "bearer":
                self._authorization = "Bearer " + await self._token(parameters)
            elif scheme.lower() == "basic":
                basic = self._basic()
                if basic is None:
                    raise Unauthorized(f'{response.method.title()} "{response.url}": no basic auth credentials')
                self._authorization = basic
            else:
                continue
            return self._authorization != before
        return False

    def _basic(self) -> str | None:
        credentials = self._credentials
        if credentials.get("auth") and not credentials.get("username"):
            return f"Basic {credentials['auth']}"
        if not credentials.get("username"):
            return None
        pair = f"{credentials['username']}:{credentials.get('password') or ''}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    async def _token(self, parameters: dict[str, str]) -> str:
        if self._credentials.get("registrytoken"):
            return str(self._credentials["registrytoken"])
        realm = parameters.get("realm", "")
        if not realm.startswith(("http://", "https://")):
            raise Unauthorized(f"invalid token realm {realm!r}")
        scopes = [f"repository:{self.repository}:{self._actions}"] if self.repository else []
        scopes += [f"repository:{source}:pull" for source in self._mount_sources]
        service = parameters.get("service", "")
        identity = self._credentials.get("identitytoken")
        try:
            if identity:
                form = {
                    "grant_type": "refresh_token", "service": service, "client_id": "wherry",
                    "refresh_token": identity, "scope": " ".join(scopes),
                }  # fmt: skip
                request = self._session.post(realm, data=form)
            else:
                query = [("service", service), *(("scope", scope) for scope in scopes)]
                basic = self._basic()
                if basic and self._credentials.get("username"):
                    query.insert(0, ("account", self._credentials["username"]))
                separator = "&" if "?" in realm else "?"
                headers = {"Authorization": basic} if basic else {}
                request = self._session.get(realm + separator + urlencode(query), headers=headers)
            async with request as response:
                body = await response.content.read(1 << 20)
                if response.status != 200:
                    raise _status_error(response.status, body, self.repository, str(response.url))
        except aiohttp.ClientError as error:
            raise Unavailable(_transport_error("GET", realm, error)) from error
        try:
            answer = json.loads(body)
        except ValueError:
            raise Unauthorized("authorization server did not include a token in the response") from None
        token = answer.get("token") or answer.get("access_token")
        if not token:
            raise Unauthorized("authorization server did not include a token in the response")
        return str(token)

    async def manifest(self, reference: str, accept: list[str]) -> tuple[bytes, str]:
        """(bytes, media type) by tag or digest; a digest is verified by the caller. Raises NotFound, …"""
        async with self.request("GET", self.url(f"manifests/{reference}"), accept=accept) as response:
            if response.status != 200:
                raise await _error(response, self.repository)
            body = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > MAX_MANIFEST:
                    raise InvalidParameter(f"manifest of {self.repository} is larger than {MAX_MANIFEST} bytes")
            return bytes(body), response.headers.get("Content-Type", "").partition(";")[0].strip()

    async def small_blob(self, digest: str, limit: int) -> bytes:
        body = bytearray()
        async for chunk in self.blob(digest):
            body += chunk
            if len(body) > limit:
                raise InvalidParameter(f"blob {digest} is larger than {limit} bytes")
        return bytes(body)

    async def blob(self, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        """The blob's bytes from `offset` on. Raises NotFound, Unavailable when the connection breaks."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        url = self.url(f"blobs/{digest}")
        async with self.request("GET", url, headers=headers) as response:
            if response.status == 416:
                return
            if response.status not in (200, 206):
                raise await _error(response, self.repository)
            skip = offset if response.status == 200 else 0
            try:
                async for chunk in response.content.iter_chunked(1 << 18):
                    if skip:
                        chunk, skip = chunk[skip:], max(0, skip - len(chunk))
                    if chunk:
                        yield chunk
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                raise Unavailable(_transport_error("GET", url, error)) from error

    async def has_blob(self, digest: str) -> int | None:
        """The blob's size, None when the repository does not have it."""
        async with self.request("HEAD", self.url(f"blobs/{digest}")) as response:
            if response.status == 200:
                return int(response.headers.get("Content-Length") or 0)
            if response.status == 404:
                return None
            raise await _error(response, self.repository)

    async def begin_upload(self, mount: tuple[str, str] | None = None) -> str | None:
        """Where to send a blob; None when it was mounted from `mount` = (digest, repository)."""
        url = self.url("blobs/uploads/")
        if mount is not None:
            url += "?" + urlencode({"mount": mount[0], "from": mount[1]})
        async with self.request("POST", url, headers={"Content-Length": "0"}) as response:
            if response.status == 201 and mount is not None:
                return None
            if response.status != 202:
                raise await _error(response, self.repository)
            return self._location(response)

    def _location(self, response: aiohttp.ClientResponse) -> str:
        location = response.headers.get("Location")
        if not location:
            raise ImageError(f"registry {self.endpoint.host} began an upload without saying where")
        return urljoin(str(response.url), location)

    async def upload_stream(self, location: str, chunks: AsyncIterable[bytes]) -> str:
        """PATCH the bytes; where to finish the upload."""
        headers = {"Content-Type": "application/octet-stream"}
        async with self.request("PATCH", location, body=chunks, headers=headers) as response:
            if response.status not in (202, 204, 201):
                raise await _error(response, self.repository)
            return self._location(response)

    async def finish_upload(self, location: str, digest: str, body: bytes = b"") -> None:
        separator = "&" if "?" in location else "?"
        url = location + separator + urlencode({"digest": digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
        async with self.request("PUT", url, body=body, headers=headers) as response:
            if response.status not in (201, 202, 204):
                raise await _error(response, self.repository)

    async def put_manifest(self, reference: str, body: bytes, media_type: str) -> None:
        url = self.url(f"manifests/{reference}")
        async with self.request("PUT", url, body=body, headers={"Content-Type": media_type}) as response:
            if response.status not in (200, 201, 202):
                raise await _error(response, self.repository)

    def may_mount_from(self, repositories: list[str]) -> None:
        """Ask for the right to read these too when a token is fetched next."""
        if repositories != self._mount_sources:
            self._mount_sources = repositories
            if self._authorization and self._authorization.startswith("Bearer"):
                self._authorization = None


async def _error(response: aiohttp.ClientResponse, repository: str) -> ImageError:
    try:
        body = await response.content.read(1 << 16)
    except aiohttp.ClientError:
        body = b""
    return _status_error(response.status, body, repository, str(response.url), response.reason or "")


def _status_error(status: int, body: bytes, repository: str, url: str, reason: str = "") -> ImageError:
    """The registry's own error list, worded as the distribution client does: `code: message: detail`."""
    try:
        errors = json.loads(body).get("errors") or []
    except (ValueError, AttributeError):
        errors = []
    texts = []
    for item in errors:
        code = str(item.get("code") or "UNKNOWN").lower().replace("_", " ")
        message = str(item.get("message") or code)
        texts.append(f"{code}: {message}")
    text = "\n".join(texts)
    codes = {str(item.get("code")) for item in errors}
    if status == 401:
        return Unauthorized(text or "unauthorized: authentication required")
    if status == 403 or "DENIED" in codes:
        return Forbidden(text or f"error parsing HTTP 403 response body: {reason}")
    if status == 404:
        return NotFound(text or f"not found: {url}")
    if status == 429:
        return Unavailable(text or "toomanyrequests: too many requests to the registry")
    if status >= 500:
        return Unavailable(text or f"received unexpected HTTP status: {status} {reason}".rstrip())
    return ImageError(text or f"received unexpected HTTP status: {status} {reason}".rstrip())


def _transport_error(method: str, url: str, error: Exception) -> str:
    """As Go's HTTP client says it: `Get "https://…/v2/": dial tcp 127.0.0.1:5000: connect: connection refused`."""
    host = urlsplit(url).hostname or ""
    port = urlsplit(url).port or (443 if url.startswith("https") else 80)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        why = f"dial tcp: lookup {host}: no such host"
    elif isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)):
        why = f"tls: failed to verify certificate: {error}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        reason = os.strerror(error.os_error.errno or 0).lower()
        why = f"dial tcp {host}:{port}: connect: {reason}"
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        why = "EOF"
    else:
        why = str(error) or type(error).__name__
    return f'{method.title()} "{url}": {why}'


def check_digest(data: bytes, expected: str) -> None:
    from ..blobs import digest_of

    if digest_of(data) != expected:
        raise DigestMismatch(f"manifest verification failed for digest {expected}")
