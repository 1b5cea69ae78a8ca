"""DNS messages on the wire: read a query, write an answer. RFC 1035, RFC 2782 (SRV), RFC 6891 (EDNS).

Only what a resolver for names of containers, pods and Services needs; what it forwards it forwards as bytes. A name
is lower case without the final dot, in text; the question is sent back in the case it came in.
"""

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5

_head = struct.Struct("!HHHHHH")
_record = struct.Struct("!HHIH")
UDP_MAX = 512
EDNS_MAX = 1232


class BadQuery(ValueError):
    """Not a query that can be read; `id` is set when an answer (FORMERR) makes sense."""


@dataclass(frozen=True)
class Query:
    id: int
    flags: int
    name: str
    type: int
    question: bytes
    """As received: name, type, class."""
    edns: bool
    limit: int
    """The largest UDP answer that the client takes, in bytes."""
    raw: bytes


@dataclass(frozen=True)
class Record:
    """`data` is the record's RDATA on the wire: see `address`, `pointer`, `service`."""

    name: str
    type: int
    ttl: int
    data: bytes


def encode_name(name: str) -> bytes:
    """Uncompressed. Raises ValueError for labels over 63 or names over 255 bytes."""
    encoded = bytearray()
    for label in name.rstrip(".").split("."):
        part = label.encode("utf-8")
        if not part and name.rstrip("."):
            raise ValueError(f"empty label in {name!r}")
        if len(part) > 63:
            raise ValueError(f"label too long in {name!r}")
        if part:
            encoded += bytes([len(part)]) + part
    encoded.append(0)
    if len(encoded) > 255:
        raise ValueError(f"name too long: {name!r}")
    return bytes(encoded)


def address(name: str, ip: str, ttl: int) -> Record:
    """An A or an AAAA record."""
    packed = ipaddress.ip_address(ip).packed
    return Record(name, A if len(packed) == 4 else AAAA, ttl, packed)


def pointer(name: str, target: str, ttl: int, type: int = PTR) -> Record:
    """A PTR record, or CNAME with `type`."""
    return Record(name, type, ttl, encode_name(target))


def service(name: str, target: str, port: int, ttl: int, *, priority: int = 0, weight: int = 100) -> Record:
    return Record(name, SRV, ttl, struct.pack("!HHH", priority, weight, port) + encode_name(target))


def text(name: str, value: str, ttl: int) -> Record:
    encoded = value.encode()[:255]
    return Record(name, TXT, ttl, bytes([len(encoded)]) + encoded)


def start_of_authority(zone: str, ttl: int, *, serial: int = 1) -> Record:
    """What a negative answer carries, so that it may be cached for `ttl` seconds (RFC 2308)."""
    names = encode_name(f"ns.dns.{zone}") + encode_name(f"hostmaster.{zone}")
    return Record(zone, SOA, ttl, names + struct.pack("!IIIII", serial, 7200, 1800, 86400, ttl))


def name_server(zone: str, ttl: int) -> Record:
    """The zone's server, by the name that `start_of_authority` gives it."""
    return Record(zone, NS, ttl, encode_name(f"ns.dns.{zone}"))


def parse_query(data: bytes) -> Query:
    """Raises BadQuery."""
    if len(data) < 17:
        raise BadQuery("too short")
    ident, flags, questions, answers, authorities, additional = _head.unpack_from(data)
    if flags & 0x8000 or questions != 1:
        raise BadQuery("not a query with one question")
    labels = []
    offset = 12
    try:
        while length := data[offset]:
            if length > 63:
                raise BadQuery("compressed name in a question")
            labels.append(data[offset + 1 : offset + 1 + length])
            offset += 1 + length
        kind, _ = struct.unpack_from("!HH", data, offset + 1)
    except (IndexError, struct.error):
        raise BadQuery("cut short") from None
    if offset - 12 > 254:
        raise BadQuery("name too long")
    end = offset + 5
    edns, limit = False, UDP_MAX
    if additional and not answers and not authorities and len(data) >= end + 11 and data[end] == 0:
        record_type, size = struct.unpack_from("!HH", data, end + 1)
        if record_type == OPT:
            edns, limit = True, max(UDP_MAX, min(size, EDNS_MAX))
    name = b".".join(labels).decode("utf-8", "replace").lower()
    return Query(ident, flags, name, kind, data[12:end], edns, limit, data)


def response(
    query: Query,
    answers: Sequence[Record] = (),
    *,
    code: int = NOERROR,
    authority: Sequence[Record] = (),
    additional: Sequence[Record] = (),
    authoritative: bool = False,
    limit: int | None = None,
) -> bytes:
    """The answer's bytes. With a `limit` (bytes), as many records as fit; TC is set when answers are left out.

    Answers that were left out can be asked for by TCP; who cannot do that makes do with those that fit.
    """
    flags = 0x8000 | (query.flags & 0x7900) | 0x0080 | code | (0x0400 if authoritative else 0)
    body = bytearray(query.question)
    options = b"\0" + struct.pack("!HHIH", OPT, EDNS_MAX, 0, 0) if query.edns else b""
    room = limit - 12 - len(options) if limit is not None else None
    counts = []
    full = False
    for section in (answers, authority, additional):
        number = 0
        for record in () if full else section:
            # Most records answer the question's own name: point at it (offset 12) instead of repeating it.
            packed = b"\xc0\x0c" if record.name == query.name else encode_name(record.name)
            packed += _record.pack(record.type, IN, record.ttl, len(record.data)) + record.data
            if room is not None and len(body) + len(packed) > room:
                full = True
                # Additional records are a courtesy: without them the answer is whole.
                flags |= 0x0200 if section is not additional else 0
                break
            body += packed
            number += 1
        counts.append(number)
    counts[2] += 1 if options else 0
    return _head.pack(query.id, flags, 1, *counts) + bytes(body) + options


def format_error(data: bytes) -> bytes | None:
    """FORMERR for bytes that parse_query refused, or None when nothing should be sent."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    return data[:2] + struct.pack("!HHHHH", 0x8000 | FORMERR, 0, 0, 0, 0)


def retarget(query: Query, name: str) -> Query:
    """The same question about another name."""
    question = encode_name(name) + query.question[-4:]
    raw = query.raw[:12] + question + query.raw[12 + len(query.question) :]
    return Query(query.id, query.flags, name, query.type, question, query.edns, query.limit, raw)


def _read_name(data: bytes, offset: int) -> tuple[str, int]:
    """A possibly compressed name and where it ends. Raises ValueError."""
    labels: list[str] = []
    end = -1
    for _ in range(128):
        length = data[offset]
        if length & 0xC0 == 0xC0:
            end = offset + 2 if end < 0 else end
            offset = struct.unpack_from("!H", data, offset)[0] & 0x3FFF
        elif length == 0:
            return ".".join(labels), offset + 1 if end < 0 else end
        else:
            labels.append(data[offset + 1 : offset + 1 + length].decode("utf-8", "replace").lower())
            offset += 1 + length
    raise ValueError("name loops")


def _records(data: bytes) -> list[tuple[int, Record]]:
    """(section, record) of an answer: section 0 answers, 1 authority, 2 additional. Names in CNAME data are expanded;
    other data is as it came. Raises ValueError, IndexError, struct.error for broken messages."""
    _, _, questions, *counts = _head.unpack_from(data)
    offset = 12
    for _ in range(questions):
        _, offset = _read_name(data, offset)
        offset += 4
    found = []
    for section, count in enumerate(counts):
        for _ in range(count):
            name, offset = _read_name(data, offset)
            kind, _, ttl, length = _record.unpack_from(data, offset)
            offset += 10
            rdata = data[offset : offset + length]
            if kind in (CNAME, PTR, NS):
                rdata = encode_name(_read_name(data, offset)[0])
            offset += length
            found.append((section, Record(name, kind, ttl, rdata)))
    return found


def read_answers(data: bytes) -> list[Record]:
    """The A, AAAA, CNAME and TXT records of an answer's answer section; empty for a broken message."""
    try:
        return [r for section, r in _records(data) if section == 0 and r.type in (A, AAAA, CNAME, TXT)]
    except (ValueError, IndexError, struct.error):
        return []


def shortest_ttl(data: bytes) -> int:
    """For how many seconds an answer may be kept: its shortest TTL; 0 without records or for a broken message."""
    try:
        return min((record.ttl for _, record in _records(data) if record.type != OPT), default=0)
    except (ValueError, IndexError, struct.error):
        return 0


def reverse_address(name: str) -> str | None:
    """The address that a PTR question's name stands for (`2.0.17.172.in-addr.arpa`), or None."""
    labels = name.split(".")
    if name.endswith(".in-addr.arpa") and len(labels) == 6:
        text = ".".join(reversed(labels[:4]))
    elif name.endswith(".ip6.arpa") and len(labels) == 34:
        digits = "".join(reversed(labels[:32]))
        text = ":".join(digits[i : i + 4] for i in range(0, 32, 4))
    else:
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
