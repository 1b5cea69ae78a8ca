"""Docker's networks: definitions, addresses, wiring, published ports, names. Start reading at `manager.Networks`."""

from wherry.engine.networks.manager import Networks
from wherry.engine.networks.types import ContainerRecords, ContainerView, NetworkRequest, NetworkSandbox

__all__ = ["ContainerRecords", "ContainerView", "NetworkRequest", "NetworkSandbox", "Networks"]
