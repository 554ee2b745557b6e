"""The file system's refusals in words."""

import polars as pl
import pytest

from clstm_core.errors import file_system_sentence, of_file_system


def test_a_refusal_names_the_place_and_the_reason(tmp_path):
    with pytest.raises(OSError, match="directory") as refused:
        tmp_path.read_bytes()
    assert of_file_system(refused.value)
    sentence = file_system_sentence(refused.value)
    assert sentence.startswith(f"cannot use {tmp_path}: Is a directory. Expected")
    assert "Errno" not in sentence


def test_a_refusal_that_a_library_wraps_is_one_too():
    error = pl.exceptions.ComputeError("parquet: underlying IO error:\nNo space left on device (os error 28)")
    assert of_file_system(error)
    assert "No space left on device" in file_system_sentence(error)
    assert "\n" not in file_system_sentence(error)
    assert not of_file_system(ValueError("a column is missing"))
