"""How much of freed memory the process keeps."""

import ctypes

_M_ARENA_MAX = -8


def few_arenas(number: int = 2) -> None:
    """Let malloc(3) serve all threads from few arenas; call it before threads begin. Nothing without glibc.

    By default each thread gets one of its own, and each keeps what its largest piece of work has needed: a change of
    the firewall takes libnftables 13 MiB for a moment, which threads in turn would each hold for ever. Threads of
    Python seldom allocate at the same time, so they lose nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, number)
