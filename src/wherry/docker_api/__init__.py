"""The Docker Engine REST API, versions 1.24 to 1.50, over an `Engine` in the same process."""

from wherry.docker_api.server import ApiServer, ServeError, TcpAddress, TlsFiles, serve

__all__ = ["ApiServer", "ServeError", "TcpAddress", "TlsFiles", "serve"]
