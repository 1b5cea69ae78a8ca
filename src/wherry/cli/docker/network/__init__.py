"""`docker network …`: one verb, one module."""
