"""SHA-256 of values, bytes, files and tensors: the one way in which the toolkit names things by what they are."""

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
"""What has a digest: bytes, the file at a path, a stream of bytes, a tensor, tensors by name, or a JSON value."""


def digest(*parts: Part) -> str:
    """The SHA-256 of what is given, 64 hexadecimal digits, the same on every machine.

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
            an iterator of bytes, taken as one piece that is never whole in memory;
            a tensor, or a mapping of names to tensors in any order: names, types, shapes and contents;
            any other value that JSON has, its keys sorted.
            The digest of several parts is that of their digests, so that it matters where one part ends.

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
    """Whether a value is a tensor, without importing torch: where there is one, torch is there."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _blocks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    import torch

    for name, tensor in sorted(tensors.items()):
        yield f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode()
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
