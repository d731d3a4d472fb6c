"""What a cell of NAS-Bench-201 really runs."""

import pytest

from estimator.fitting.nasbench import executed


@pytest.mark.parametrize(
    ("cell", "folded", "runs"),
    [
        (
            "|avg_pool_3x3~0|+|avg_pool_3x3~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|",
            True,
            (0, 1, 1, 2),
        ),
        (
            "|skip_connect~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
            True,
            (0, 0, 1, 3),
        ),
        ("|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|", True, (0, 1, 0, 0)),
        ("|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|", False, (1, 1, 0, 7)),
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            False,
            (6, 0, 0, 3),
        ),
    ],
)
def test_operators_are_counted_as_they_are_executed(cell, folded, runs):
    assert executed(cell, folded) == runs
