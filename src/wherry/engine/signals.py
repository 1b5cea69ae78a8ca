"""Signals by Docker's names: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`."""

import signal

from wherry.engine.errors import InvalidParameter

_RTMIN, _RTMAX = 34, 64
_EXTRA = {"CLD": signal.SIGCHLD, "POLL": 29, "STKFLT": 16, "UNUSED": 31}


def parse(text: str | int) -> int:
    """The signal's number. Raises InvalidParameter ("invalid signal: …")."""
    raw = str(text).strip()
    if raw.isdigit():
        number = int(raw)
        if 0 < number <= _RTMAX:
            return number
        raise InvalidParameter(f"invalid signal: {text}")
    name = raw.upper().removeprefix("SIG")
    for base, start in (("RTMIN", _RTMIN), ("RTMAX", _RTMAX)):
        if name.startswith(base):
            offset = name[len(base) :] or "+0"
            if offset[0] in "+-" and offset[1:].isdigit() and _RTMIN <= start + int(offset) <= _RTMAX:
                return start + int(offset)
            raise InvalidParameter(f"invalid signal: {text}")
    if name in _EXTRA:
        return int(_EXTRA[name])
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise InvalidParameter(f"invalid signal: {text}") from None
