"""Ingress: nginx serves what Ingress objects ask for. `IngressController` is the whole of it."""

from wherry.cluster_net.ingress.controller import IngressController

__all__ = ["IngressController"]
