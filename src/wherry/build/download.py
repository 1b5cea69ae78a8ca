"""ADD of a URL: fetch it to a file."""

import asyncio
import hashlib
import secrets
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .copying import Download, http_time
from .errors import BuildError


def _append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


async def download(url: str, directory: Path, checksum: str = "") -> Download:
    """Fetch `url` into `directory`. `checksum` (`sha256:…`) must match. Raises BuildError."""
    import aiohttp

    path = directory / f"download-{secrets.token_hex(8)}"
    digest = hashlib.sha256()
    size = 0
    try:
        timeout = aiohttp.ClientTimeout(total=None, connect=60, sock_read=300)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session, session.get(url) as response:
            if response.status >= 400:
                raise BuildError(f"ADD failed: failed to GET {url} with status {response.status} {response.reason}: ")
            async for chunk in response.content.iter_chunked(1 << 20):
                digest.update(chunk)
                size += len(chunk)
                await asyncio.to_thread(_append, path, chunk)
            modified = http_time(response.headers.get("Last-Modified"))
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        path.unlink(missing_ok=True)
        raise BuildError(f'ADD failed: Get "{url}": {error}') from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    if checksum and checksum != "sha256:" + digest.hexdigest():
        path.unlink(missing_ok=True)
        raise BuildError(f"digest mismatch sha256:{digest.hexdigest()}: {checksum}")
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    return Download(url, path, digest.digest(), name, modified, size)
