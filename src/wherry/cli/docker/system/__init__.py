"""`docker system …`: one verb, one module."""
