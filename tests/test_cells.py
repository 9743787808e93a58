"""Finished results are made once, and again where the disk has damaged them."""

import numpy as np
import pandas as pd
import pytest

from experiments.cells import Cells


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-40], lambda content: b"?" * 90])
def test_a_damaged_result_is_made_again_and_this_is_said(tmp_path, capsys, damage):
    """It was a traceback of the library that reads it, in every run until somebody removed the file."""
    frame, arrays, made = pd.DataFrame({"regret": [0.25, 0.5]}), {"weights": np.float32([1, 2])}, []

    def kept():
        cells = Cells(tmp_path)
        table = cells.frame("stack", "0123", lambda: made.append("table") or frame)
        return table, cells.arrays("fits", "4567", lambda: made.append("arrays") or arrays, arrays)

    for again in (False, True):
        kept()
        table, found = kept()
        pd.testing.assert_frame_equal(table, frame)
        np.testing.assert_array_equal(found["weights"], arrays["weights"])
        assert made == ["table", "arrays"] * (2 if again else 1)
        said = capsys.readouterr().err.splitlines()
        assert [line.endswith("and is made again") for line in said] == [True] * (2 if again else 0)
        for file in tmp_path.iterdir():
            file.write_bytes(damage(file.read_bytes()))
