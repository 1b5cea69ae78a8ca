"""Lifecycle hooks: postStart and preStop by exec, HTTP or sleep.

Specified in https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/.
"""

import asyncio

from wherry.node.probe_handlers import Exec, probe
from wherry.schema.resource import Object


class HookFailed(Exception):
    """The hook ran and failed; the message is that of the event."""


async def run_hook(hook: Object, container: Object, host: str, run: Exec, timeout: float) -> None:
    """Carry out one handler within `timeout` seconds. Raises HookFailed, TimeoutError."""
    if "sleep" in hook:
        await asyncio.wait_for(asyncio.sleep(float(hook["sleep"].get("seconds") or 0)), timeout)
        return
    handler: Object = {key: hook[key] for key in ("exec", "httpGet", "tcpSocket") if key in hook}
    if "httpGet" in handler:
        # A hook is one request whose answer does not count beyond its having come.
        handler["httpGet"] = {"port": 80, **handler["httpGet"]}
    result = await asyncio.wait_for(probe({**handler, "timeoutSeconds": timeout}, container, host, run), timeout)
    if result.ok is not True:
        raise HookFailed(result.output)
