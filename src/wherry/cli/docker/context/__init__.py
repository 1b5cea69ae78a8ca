"""`docker context …`: one verb, one module."""
