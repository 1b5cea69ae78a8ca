import gzip
import random
import zlib

import pytest

from wherry.images.compression import decompress
from wherry.images.gzipping import compress


@pytest.mark.parametrize("size", [0, 1, (1 << 19) - 1, 1 << 19, (1 << 19) + 1, 3_000_000])
def test_what_is_compressed_comes_back(size: int) -> None:
    data = (random.Random(size).randbytes(2000) * (size // 2000 + 1))[:size]
    packed = b"".join(compress([data[at : at + 70_000] for at in range(0, size, 70_000)]))
    assert gzip.decompress(packed) == data
    assert b"".join(decompress([packed])) == data


def test_the_bytes_do_not_depend_on_how_they_arrive() -> None:
    data = random.Random(1).randbytes(1000) * 3000
    whole = b"".join(compress([data]))
    pieces = b"".join(compress(data[at : at + 999] for at in range(0, len(data), 999)))
    assert whole == pieces
    assert len(whole) < 1.1 * len(zlib.compress(data, 3)) + 1000
