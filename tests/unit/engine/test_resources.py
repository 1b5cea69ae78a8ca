"""What a container may ask for, as the kernel it is asked on can give it."""

from pathlib import Path

import pytest

from wherry.engine.errors import InvalidParameter
from wherry.engine.resources import check_block_weight
from wherry.host.cgroups import Layout, Mode


def layout(tmp_path: Path, mode: Mode, *files: str) -> Layout:
    for name in files:
        (tmp_path / name).write_text("")
    return Layout(mode, {"blkio": tmp_path})


def test_a_block_weight_out_of_range_is_refused(tmp_path: Path) -> None:
    for found in (layout(tmp_path, "v2"), layout(tmp_path, "v1", "blkio.weight", "blkio.weight_device")):
        assert check_block_weight({"BlkioWeight": 10}, found) == []
        for asked in ({"BlkioWeight": 5}, {"BlkioWeightDevice": [{"Path": "/dev/null", "Weight": 1001}]}):
            with pytest.raises(InvalidParameter, match="Range of blkio weight is from 10 to 1000"):
                check_block_weight(asked, found)


def test_a_block_weight_that_the_kernel_cannot_give_is_dropped_with_a_warning(tmp_path: Path) -> None:
    asked = {"BlkioWeight": 5, "BlkioWeightDevice": [{"Path": "/dev/null", "Weight": 100}]}
    warnings = check_block_weight(asked, layout(tmp_path, "v1"))
    assert [warning.rpartition(". ")[2] for warning in warnings] == ["Weight discarded.", "Weight-device discarded."]
    assert asked == {"BlkioWeight": 0, "BlkioWeightDevice": []}
