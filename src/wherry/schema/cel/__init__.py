"""Validation rules in the Common Expression Language; see the README."""
