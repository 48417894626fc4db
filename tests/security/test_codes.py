"""Code files that others wrote: headers that lie, and numbers that no codebook has."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from anytime_core.errors import RunError
from anytime_core.training.codes import CodesDataset


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def saved(array: np.ndarray, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def archived() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", saved(np.zeros((2, 8), np.uint16)))
    return buffer.getvalue()


def described(shape: str, kind: str = "'<u2'") -> str:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}"


def test_a_pipe_holds_no_codes(tmp_path):
    os.mkfifo(tmp_path / "train.npy")
    with pytest.raises(RunError, match=r"train\.npy: it is a pipe, not a file; write them again with stage='codes'"):
        CodesDataset(tmp_path, "train")


FILES = {
    "empty": b"",
    "text": b"no codes\n" * 99,
    "objects": saved(np.array([[{"a": 1}]], dtype=object), allow_pickle=True),
    "an archive": archived(),
    "more rows than there are": npy(described("(1000000000000, 8)"), b"abcd"),
    "a shape beyond any number": npy(described(f"({10**30}, 8)"), b"abcd"),
    "a negative shape": npy(described("(-1, 8)"), b"abcd"),
    "no rows": npy(described("(0, 8)")),
    "one axis": saved(np.zeros(8, np.uint16)),
    "three axes": saved(np.zeros((2, 8, 1), np.uint16)),
    "floating point": saved(np.zeros((2, 8))),
    "text values": saved(np.full((2, 8), "a")),
    "records": saved(np.zeros((2, 8), [("a", "<u2")])),
    "dates": saved(np.zeros((2, 8), "<M8[s]")),
    "a header that calls": npy("__import__('os').system('true')"),
    "a header that never closes": npy("{'descr': (" * 50),
    "a deep header": npy("(" * 5000),
    "a deep header of another version": npy("(" * 5000, version=b"\x02\x00"),
    "a version that there is none of": npy(described("(2, 8)"), version=b"\x09\x00"),
    "fewer codes": saved(np.zeros((2, 7), np.uint16)),
    "codes beyond the codebook": saved(np.full((2, 8), 16, np.uint16)),
    "negative codes": saved(np.full((2, 8), -1, np.int64)),
    "a large code in the last row": saved(
        np.append(np.zeros((70_000, 8), np.uint32), [[2**32 - 1] * 8], 0).astype("<u4")
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_code_file_that_lies_is_one_error_that_names_it(name, tmp_path):
    path = tmp_path / "train.npy"
    path.write_bytes(FILES[name])
    tracemalloc.start()
    with pytest.raises(RunError) as refused:
        CodesDataset(tmp_path, "train", code_length=8, codebook_size=16, classes=10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(refused.value)
    assert peak < 2**23


LABELS = {
    "out of range": np.array([0, 10]),
    "negative": np.array([0, -100]),
    "fewer": np.array([0]),
    "more": np.array([0, 1, 2]),
    "floating point": np.array([0.0, 1.0]),
    "two axes": np.array([[0, 1]]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_there_are_none_of_are_one_error_that_names_the_file(name, tmp_path):
    path = put(tmp_path, np.zeros((2, 8), np.uint16), LABELS[name])
    with pytest.raises(RunError) as refused:
        CodesDataset(tmp_path, "train", code_length=8, codebook_size=16, classes=10)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("kind", [np.uint8, np.int32, ">i8", np.int64])
def test_labels_of_any_whole_type_are_read(kind, tmp_path):
    put(tmp_path, np.zeros((2, 8), np.uint16), np.array([3, 9]).astype(kind))
    dataset = CodesDataset(tmp_path, "train", code_length=8, codebook_size=16, classes=10)
    assert dataset.batch([0, 1])["label"].tolist() == [3, 9]


def put(folder: Path, codes: np.ndarray, labels: np.ndarray) -> Path:
    np.save(folder / "train.npy", codes)
    np.save(folder / "train-labels.npy", labels)
    return folder / "train-labels.npy"
