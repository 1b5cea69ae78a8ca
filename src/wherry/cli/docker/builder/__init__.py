"""`docker builder …`: one verb, one module."""
