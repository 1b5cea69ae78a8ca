"""`kubectl uncordon`."""

from wherry.cli.kubectl.cordon import FLAGS, HELP, USAGE, run

__all__ = ["FLAGS", "HELP", "USAGE", "run"]
