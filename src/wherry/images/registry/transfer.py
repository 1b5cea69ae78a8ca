"""Pull, push, distribution information and login for a store: endpoints in order, one client each."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from ..archives import Progress
from ..blobs import BlobStore, digest_of
from ..catalog import Catalog, Image
from ..errors import Forbidden, ImageError, NotFound, Unauthorized, Unavailable
from ..layers import LayerStore
from ..manifests import ACCEPT, Index, read, read_config
from ..references import Reference, parse_reference
from . import pull as pulling
from . import push as pushing
from .client import RegistryClient
from .endpoints import HUB_KEY, RegistryConfig, credentials_for

T = TypeVar("T")


class Transfers:
    """The registry side of one store."""

    def __init__(self, layers: LayerStore, catalog: Catalog, blobs: BlobStore, root: Path) -> None:
        self._layers = layers
        self._catalog = catalog
        self._blobs = blobs
        self._root = root

    async def _each(
        self,
        reference: Reference,
        auth: dict[str, Any],
        work: Callable[[RegistryClient], Awaitable[T]],
        *,
        push: bool = False,
    ) -> T:
        """Try the endpoints in order: the next one when one cannot be reached, or a mirror lacks the image."""
        credentials = credentials_for(auth, reference.domain)
        failure: ImageError | None = None
        for endpoint in RegistryConfig.read(self._root / "daemon.json").endpoints(reference.domain, push=push):
            client = RegistryClient(endpoint, reference.path, {} if endpoint.mirror else credentials, push=push)
            async with client:
                try:
                    await client.ping()
                except Unavailable as error:
                    failure = error
                    continue
                except Unauthorized as error:
                    failure = error
                    if endpoint.mirror:
                        continue
                    raise
                try:
                    return await work(client)
                except (NotFound, Forbidden, Unavailable) as error:
                    if not endpoint.mirror:
                        raise
                    failure = error
        assert failure is not None
        raise failure

    async def pull(
        self, reference: Reference, progress: Progress, auth: dict[str, Any], platform: tuple[str, str, str]
    ) -> pulling.Pulled:
        downloads = self._root / "images" / "downloads"
        downloads.mkdir(exist_ok=True)

        async def work(client: RegistryClient) -> pulling.Pulled:
            puller = pulling.Puller(
                client, reference, layers=self._layers, catalog=self._catalog, blobs=self._blobs,
                downloads=downloads, progress=progress, platform=platform,
            )  # fmt: skip
            return await puller.run()

        return await self._each(reference, auth, work)

    async def push(
        self, reference: Reference, image: Image, progress: Progress, auth: dict[str, Any]
    ) -> pushing.Pushed:
        config = self._blobs.get(image.id)

        async def work(client: RegistryClient) -> pushing.Pushed:
            pusher = pushing.Pusher(
                client, reference, image, config, layers=self._layers, catalog=self._catalog, progress=progress
            )
            try:
                return await pusher.run()
            except BaseExceptionGroup as group:
                raise pushing.unwrap(group) from None

        return await self._each(reference, auth, work, push=True)

    async def distribution(self, reference: Reference, auth: dict[str, Any]) -> dict[str, Any]:
        """`GET /distribution/{name}/json`."""

        async def work(client: RegistryClient) -> dict[str, Any]:
            wanted = reference.digest or reference.tag or "latest"
            body, media_type = await client.manifest(wanted, ACCEPT)
            document = read(body, media_type)
            if isinstance(document, Index):
                platforms = [item.platform for item in document.manifests if item.platform]
            else:
                config = read_config(await client.small_blob(document.config.digest, pulling.MAX_CONFIG))
                platforms = [{key: config[key] for key in ("architecture", "os", "variant") if config.get(key)}]
            media_type = media_type or document.media_type
            descriptor = {"mediaType": media_type, "digest": digest_of(body), "size": len(body)}
            return {"Descriptor": descriptor, "Platforms": platforms}

        return await self._each(reference, auth, work)

    async def authenticate(self, credentials: dict[str, Any]) -> str:
        """`POST /auth`: Raises Unauthorized when the registry does not take the credentials."""
        server = str(credentials.get("serveraddress") or HUB_KEY)
        domain = "docker.io" if server == HUB_KEY else server.split("//")[-1].rstrip("/").split("/")[0]
        reference = parse_reference(f"{domain}/library/login")
        try:
            await self._each(
                Reference(reference.domain, ""),
                {**credentials, "username": credentials.get("username") or ""},
                _nothing,
            )
        except Unauthorized as error:
            raise Unauthorized(f"login attempt to {server} failed with status: {error.message}") from None
        return ""


async def _nothing(client: RegistryClient) -> None:
    return None
