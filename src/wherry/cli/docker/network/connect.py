"""`docker network connect`."""

from __future__ import annotations

from wherry.cli.docker.container.create_body import endpoint
from wherry.cli.docker.container.create_flags import TYPES

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

__all__ = ["TYPES"]

USAGE = "[OPTIONS] NETWORK CONTAINER"
ARGUMENTS = (2, 2)
FLAGS = """
  alias strings           Further name of the container in the network
  driver-opt map          Option of the network's driver
  gw-priority int         The network with the highest number gives the default route
  ip string               IPv4 address
  ip6 string              IPv6 address
  link link               Link to another container
  link-local-ip strings   Link-local address
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    network, container = arguments
    settings = endpoint(
        {
            "aliases": flags["alias"],
            "driver-opt": flags["driver-opt"],
            "gw-priority": flags["gw-priority"],
            "ip": flags["ip"],
            "ip6": flags["ip6"],
            "links": flags["link"],
            "link-local-ip": flags["link-local-ip"],
        }
    )
    cli.client.post(f"/networks/{network}/connect", body={"Container": container, "EndpointConfig": settings})
