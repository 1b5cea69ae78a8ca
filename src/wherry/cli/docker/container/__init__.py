"""`docker container …`: one verb, one module."""
