"""SHA-256 of values, bytes, files and tensors: the one way in which the toolkit names things by their contents."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from torch import Tensor

Part = bytes | Path | Iterator[bytes] | Any
"""Anything that has a digest: bytes, the file at a path, a stream of bytes, a tensor, tensors by name, a JSON value."""


def digest(*parts: Part) -> str:
    """The SHA-256 of the parts, 64 hexadecimal digits, the same on every machine.

    >>> digest({"b": 2, "a": [1]}) == digest({"a": (1,), "b": 2})
    True
    >>> digest(b"ab") == digest(iter([b"a", b"b"]))
    True
    >>> digest(b"ab") == digest(b"a", b"b")
    False

    Args:
        parts: each is one of
            bytes, as they are;
            a path, whose file is read a block at a time;
            an iterator of bytes, taken as one stream that is never held in memory as a whole;
            a tensor, or a mapping of names to tensors in any order: their names, types, shapes and contents count;
            any other value that JSON has, with its keys sorted.
            The digest of several parts is the digest of their digests, so it matters where one part ends.

    Raises:
        TypeError: a part is none of these.
        OSError: a file cannot be read.
    """
    if len(parts) != 1:
        return digest("".join(map(digest, parts)).encode())
    (part,) = parts
    algorithm = hashlib.sha256()
    if isinstance(part, Path):
        with part.open("rb") as file:
            return hashlib.file_digest(file, lambda: algorithm).hexdigest()
    if isinstance(part, bytes):
        blocks: Iterator[bytes | memoryview] = iter([part])
    elif isinstance(part, Iterator):
        blocks = part
    elif _is_tensor(part):
        blocks = _blocks({"": part})
    elif isinstance(part, Mapping) and part and all(map(_is_tensor, part.values())):
        blocks = _blocks(part)
    else:
        blocks = iter([json.dumps(part, sort_keys=True).encode()])
    for block in blocks:
        algorithm.update(block)
    return algorithm.hexdigest()


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a tensor. This imports no torch: if there is a tensor, torch is imported already."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _blocks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    import torch

    for name, tensor in sorted(tensors.items()):
        yield f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode()
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
