"""Fixtures of the whole suite come from Wherry's own pytest plugin."""

import os
import signal

from hypothesis import settings

pytest_plugins = ["wherry.testing.plugin"]

# Property tests look at new cases on every run of a developer's, and at the same ones on every run of CI, so that a
# change is never blamed for what another one did. No deadlines: timing is never a test.
settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")

# A shell without job control starts what it puts in the background with SIGINT ignored, and every child inherits that:
# the tests of Ctrl-C would wait for ever. A handler of our own becomes the default again in a child.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
