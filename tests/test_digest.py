"""Digests: of equal things equal, of others others, and those that earlier versions stored."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anytime_core.digest import digest

TENSORS = {"b": torch.arange(6).reshape(2, 3), "a": torch.tensor(1.5, dtype=torch.bfloat16)}
VALUE = {"b": [1, 2.5, None, "ü\udc80"], "a": {"x": True}}


def test_values_bytes_files_and_tensors_have_the_digests_that_earlier_versions_stored(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    tensors = b"a torch.bfloat16 []\n" + b"\xc0\x3f" + b"b torch.int64 [2, 3]\n" + TENSORS["b"].numpy().tobytes()
    for part, content in (
        (VALUE, json.dumps(VALUE, sort_keys=True).encode()),
        (b"content", b"content"),
        (tmp_path / "file", b"content"),
        (iter([b"con", b"tent"]), b"content"),
        (TENSORS, tensors),
    ):
        assert digest(part) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((b"ab",), (b"a", b"b")),
        ((b"a", b"b"), (b"b", b"a")),
        ((1, 2), (12,)),
        (({"a": 1},), ({"a": "1"},)),
        ((torch.zeros(2, 3),), (torch.zeros(3, 2),)),
        ((torch.zeros(2),), (torch.zeros(2, dtype=torch.int32),)),
        (({"a": torch.zeros(2)},), ({"b": torch.zeros(2)},)),
    ],
    ids=str,
)
def test_what_differs_has_another_digest(one, other):
    assert digest(*one) != digest(*other)


def test_order_of_names_and_place_in_memory_do_not_matter():
    turned = {"a": TENSORS["a"].clone().requires_grad_(), "b": TENSORS["b"].T.contiguous().T}
    assert digest(turned) == digest(TENSORS)
    assert digest(dict(reversed(VALUE.items()))) == digest(VALUE)


def test_what_has_no_digest_is_refused():
    with pytest.raises(TypeError, match="PosixPath"):
        digest({"path": Path("x")})


def test_a_digest_imports_no_torch():
    script = "import sys; from anytime_core.digest import digest; digest({}, b''); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], env=os.environ, check=False).returncode == 0
