"""The Docker Engine REST API, versions 1.24 to 1.50, over an `Engine` in the same process.

The names below come from `server`, which is loaded only when one of them is asked for: the client in `client.py`
is part of a command line that may not pay for an HTTP server.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.docker_api.server import ApiServer, ServeError, TcpAddress, TlsFiles, serve

__all__ = ["ApiServer", "ServeError", "TcpAddress", "TlsFiles", "serve"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from wherry.docker_api import server

    return getattr(server, name)
