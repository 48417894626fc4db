"""Kernels, in Triton, that make noise where it is used: the same integers as `sampling.philox`, and their logarithms in
float64, so that numbers are those of the CPU but for the last bit of a logarithm.

K is the number of values of a code, G the number of numbers that drawing it takes. Sizes in capitals are fixed when a
kernel is compiled; NUMBERS is a power of two.
"""

import triton
import triton.language as tl

_LOW = tl.constexpr(0xFFFFFFFF)
_FIRST = tl.constexpr(0x80000000)
_STEP = tl.constexpr(2.0**-32)


@triton.jit
def draw(codes, logits, keys, position, stride, VALUES: tl.constexpr, NUMBERS: tl.constexpr):
    """The largest sum of logit and Gumbel noise of a row, as argmax finds it: the first one of equals, or what is no
    number.

    Args:
        codes: [B] int64, the results.
        logits: [B, K], with `stride` from row to row.
        keys: [B, 2] int64, see `sampling.philox.keys`.
        position: int64 [1].
        VALUES: K.
    """
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, NUMBERS)
    largest = tl.full((), float("-inf"), tl.float32)
    code = tl.full((), 0, tl.int64)
    for first in range(0, VALUES, NUMBERS):
        inside = first + lanes < VALUES
        logit = tl.load(logits + row * stride + first + lanes, mask=inside, other=float("-inf")).to(tl.float32)
        noise = _gumbel(_uniform(keys + 2 * row, tl.load(position), first, VALUES, NUMBERS))
        total = logit + noise.to(tl.float32)
        total = tl.where(total == total, total, float("inf"))
        best, lane = tl.max(total, axis=0, return_indices=True, return_indices_tie_break_left=True)
        code = tl.where(best > largest, first + lane.to(tl.int64), code)
        largest = tl.where(best > largest, best, largest)
    tl.store(codes + row, code)


@triton.jit
def fill(result, keys, position, length, SIZE: tl.constexpr, KIND: tl.constexpr, NUMBERS: tl.constexpr):
    """The noise of one code of a row.

    Args:
        result: [B, n, G]: float32, or float64 for the KIND `bits`, uniform numbers of all 33 bits.
        keys: [B, 2] int64, see `sampling.philox.keys`.
        position: int64 [1], of the first of the n codes.
        length: n.
        SIZE: G.
    """
    program = tl.program_id(0).to(tl.int64)
    at = tl.load(position) + program % length
    lanes = tl.arange(0, NUMBERS)
    for first in range(0, SIZE, NUMBERS):
        noise = _uniform(keys + 2 * (program // length), at, first, SIZE, NUMBERS)
        if KIND == "gumbel":
            noise = _gumbel(noise)
        if KIND == "uniform":
            noise = (tl.floor(noise * 8388608.0) + 0.5) * (1.0 / 8388608.0)
        place = result + program * SIZE + first + lanes
        tl.store(place, noise.to(result.dtype.element_ty), mask=first + lanes < SIZE)


@triton.jit
def _uniform(key, position, first, SIZE: tl.constexpr, NUMBERS: tl.constexpr):
    """Numbers in (0, 1) of the code at `position`, from number `first` on, [NUMBERS] float64."""
    blocks = (SIZE + 7) // 8
    # numpy counts before it draws.
    counter = (position * blocks + first // 8 + 1 + tl.arange(0, NUMBERS // 8)).to(tl.uint64, bitcast=True)
    zero = tl.zeros_like(counter)
    seed = tl.load(key).to(tl.uint64, bitcast=True)
    index = tl.load(key + 1).to(tl.uint64, bitcast=True)
    word0, word1, word2, word3 = tl.philox_impl(counter, zero, zero, zero, seed, index)
    words = tl.interleave(tl.interleave(word0, word2), tl.interleave(word1, word3))
    # `sampling.noise` counts from the least number of 32 bits with a sign.
    bits = tl.interleave(words & _LOW, words >> 32).to(tl.int64, bitcast=True) ^ _FIRST
    return (bits.to(tl.float64) + 0.5) * _STEP


@triton.jit
def _gumbel(uniform):
    """-log(-log(1 - u)), rounded where `sampling.noise` rounds."""
    return -tl.log(1.0 - (tl.log(1.0 - uniform) + 1.0))
