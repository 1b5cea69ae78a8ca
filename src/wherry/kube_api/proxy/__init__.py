"""Connections through the API server to nodes, pods and services: log, exec, attach, port-forward, proxy."""
