"""nftables through libnftables: rule documents in nft's own language, each applied as one atomic transaction.

A *document* is the text that `nft -f` reads. Everything that Wherry writes into one is a number, an address from
`ipaddress` or a name of its own making, never a client's words. Specified in nft(8); see docs/decisions/nftables.md
for why text and not JSON.
"""

import ctypes
import threading
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any


class NftError(RuntimeError):
    """libnftables refused a document; nothing of it was applied. The message has its words and the document's head."""


@cache
def _library() -> Any:
    library = ctypes.CDLL("libnftables.so.1", use_errno=True)
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_output_set_flags"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    return library


_JSON = 1 << 4
_LARGE = 1 << 17


def _malloc_trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


class Nftables:
    """A libnftables context, bound to the network namespace of the thread that makes it. Thread-safe; calls block."""

    def __init__(self) -> None:
        self._library = _library()
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise NftError("libnftables: no context")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            if self._context:
                self._library.nft_ctx_free(self._context)
                self._context = None

    def __enter__(self) -> "Nftables":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self, document: str, *, json: bool = False) -> str:
        """Apply `document` as one transaction; returns what its `list` commands print (as JSON with `json`)."""
        with self._lock:
            if not self._context:
                raise NftError("libnftables: context is closed")
            self._library.nft_ctx_output_set_flags(self._context, _JSON if json else 0)
            failed = self._library.nft_run_cmd_from_buffer(self._context, document.encode())
            output: str = self._library.nft_ctx_get_output_buffer(self._context).decode()
            error: str = self._library.nft_ctx_get_error_buffer(self._context).decode().strip()
        if len(document) > _LARGE:
            # Parsing a large document takes tens of MiB, which the C library would keep for ever.
            _malloc_trim()
        if failed:
            raise NftError(f"{error or 'nft failed'}\nin: {document[:400]}")
        return output

    def delete_table(self, name: str, family: str = "inet") -> None:
        """Idempotent: a table that is not there is added first, in the same transaction."""
        self.run(f"add table {family} {name}\ndelete table {family} {name}\n")

    def tables(self) -> list[tuple[str, str]]:
        """(family, name) of every table on the machine."""
        return [
            (words[1], words[2]) for line in self.run("list tables").splitlines() if len(words := line.split()) == 3
        ]


def elements(verb: str, table: str, name: str, values: Iterable[str], family: str = "inet") -> str:
    """`add`/`delete element` for a set or a map, or "" for no values. A value of a map is `key : value`."""
    listed: Sequence[str] = list(values)
    return f"{verb} element {family} {table} {name} {{ {', '.join(listed)} }}\n" if listed else ""
