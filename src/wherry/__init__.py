"""Wherry: Docker and Kubernetes in one small Python package."""

__version__ = "0.1.0"
