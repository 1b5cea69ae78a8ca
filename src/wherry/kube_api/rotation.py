"""Certificates are renewed while the server runs: new connections get the new one, old connections go on."""

import asyncio
import logging
from typing import TYPE_CHECKING

from wherry.kube_api.pki import ensure_pki

if TYPE_CHECKING:
    import ssl

    from wherry.kube_api.server import ApiServer

log = logging.getLogger(__name__)

CHECK_SECONDS = 12 * 3600.0


async def keep_certificates(server: "ApiServer", context: "ssl.SSLContext", names: list[str]) -> None:
    """For ever: look twice a day whether certificates come near their end."""
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        try:
            await renew(server, context, names)
        except OSError as error:
            log.error("certificates cannot be renewed: %s", error)


async def renew(server: "ApiServer", context: "ssl.SSLContext", names: list[str]) -> bool:
    """Renew what is near its end; tells whether the serving certificate is a new one."""
    serving = server.pki.serving
    before = serving.cert.read_bytes()
    await asyncio.to_thread(ensure_pki, server.instance.pki_dir, names)
    await asyncio.to_thread(server.write_kubeconfig)
    if serving.cert.read_bytes() == before:
        return False
    context.load_cert_chain(serving.cert, serving.key)
    log.info("the serving certificate has been renewed")
    return True
