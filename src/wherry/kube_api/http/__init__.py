"""A small HTTP/1.1 server for the API: thin on the hot path, with shared chunks for watches and raw upgrades.

Why not a framework: docs/decisions/ (2.4 times the requests per second, and 25 MiB less memory).
"""
