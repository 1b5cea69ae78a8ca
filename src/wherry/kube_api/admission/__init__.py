"""Admission: what may still change or refuse a write after it has been authenticated and authorised."""
