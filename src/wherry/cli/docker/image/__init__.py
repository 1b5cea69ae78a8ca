"""`docker image …`: one verb, one module."""
