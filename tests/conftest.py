"""Fixtures of the whole suite come from Wherry's own pytest plugin."""

pytest_plugins = ["wherry.testing.plugin"]
