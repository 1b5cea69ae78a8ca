"""`docker volume …`: one verb, one module."""
