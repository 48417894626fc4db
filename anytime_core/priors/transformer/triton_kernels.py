"""The kernels of a step, in Triton.

W is the width, I and O are the inputs and outputs of a product, G is the number of key-value heads, E the size of a
head, and m the number of places of the buffers. Sums are in float32, whatever the dtype of the tensors. Tensors are
contiguous; matrices are [O, I]. Sizes in capitals are fixed when a kernel is compiled; those called BLOCK are powers of
two.
"""

import triton
import triton.language as tl

_LOWEST = tl.constexpr(-1e30)
"""The score of what is not there. It is finite, since the difference of two infinities is no number."""


@triton.jit(do_not_specialize_on_alignment=["position", "previous"])
def embed(
    result,
    first_input,
    positions,
    tables,
    position,
    previous,
    codes,
    PER_POSITION: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The residual stream of a row: its first input, the position and, after position 0, the code before it."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.load(position)
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    code = tl.load(previous + row, mask=at > 0, other=0)
    if PER_POSITION:
        code += (at - 1) * codes
    total = tl.load(tables + code * WIDTH + column, mask=inside & (at > 0), other=0).to(tl.float32)
    total += tl.load(first_input + row * WIDTH + column, mask=inside, other=0).to(tl.float32)
    total += tl.load(positions + at * WIDTH + column, mask=inside, other=0).to(tl.float32)
    tl.store(result + row * WIDTH + column, total.to(result.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize_on_alignment=["last", "first"])
def attend(
    result,
    projected,
    keys,
    values,
    last,
    first,
    slots,
    FROM_FIRST: tl.constexpr,
    GROUPS: tl.constexpr,
    QUERIES: tl.constexpr,
    SIZE: tl.constexpr,
    QUERY_BLOCK: tl.constexpr,
    SIZE_BLOCK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row and one key-value head, which QUERIES query heads read.

    It writes the key and value at the last place and attends to all up to there, or with FROM_FIRST only from the first
    place on. Each place in a block keeps a softmax of its own over what it has seen, and they are joined at the end, so
    that warps do not wait for each other in the loop.
    """
    program = tl.program_id(0).to(tl.int64)
    row, group = program // GROUPS, program % GROUPS
    query = tl.arange(0, QUERY_BLOCK)[:, None, None]
    place = tl.arange(0, BLOCK)[None, :, None]
    column = tl.arange(0, SIZE_BLOCK)[None, None, :]
    inside = column < SIZE
    real = (query < QUERIES) & inside
    start = row * ((QUERIES + 2) * GROUPS * SIZE)
    query_at = (group * QUERIES + query) * SIZE + column
    new_at = start + (QUERIES * GROUPS + group) * SIZE + column
    queries = tl.load(projected + start + query_at, mask=real, other=0).to(tl.float32)  # [QUERIES, 1, E]
    new_key = tl.load(projected + new_at, mask=inside, other=0)  # [1, 1, E]
    new_value = tl.load(projected + new_at + GROUPS * SIZE, mask=inside, other=0)
    written = tl.load(last).to(tl.int32)
    begin = 0
    if FROM_FIRST:
        begin = tl.load(first).to(tl.int32)
    buffer = program * slots * SIZE
    tl.store(keys + buffer + written * SIZE + column, new_key, mask=inside)
    tl.store(values + buffer + written * SIZE + column, new_value, mask=inside)

    most = tl.full([QUERY_BLOCK, BLOCK, 1], _LOWEST, tl.float32)
    total = tl.zeros([QUERY_BLOCK, BLOCK, 1], tl.float32)
    mixed = tl.zeros([QUERY_BLOCK, BLOCK, SIZE_BLOCK], tl.float32)
    for start_of_block in range(begin, written, BLOCK):
        there = start_of_block + place < written
        at = buffer + (start_of_block + place) * SIZE + column
        read = there & inside
        # Of large batches, they pass through the cache only once, and would drive the weights out.
        some_keys = tl.load(keys + at, mask=read, other=0, eviction_policy="evict_first").to(tl.float32)
        some_values = tl.load(values + at, mask=read, other=0, eviction_policy="evict_first").to(tl.float32)
        scores = tl.where(there, tl.sum(queries * some_keys, 2, keep_dims=True), _LOWEST)
        higher = tl.maximum(most, scores)
        fading, weight = tl.exp(most - higher), tl.exp(scores - higher)
        total = total * fading + weight
        mixed = mixed * fading + weight * some_values
        most = higher

    new_score = tl.sum(queries * new_key.to(tl.float32), 2, keep_dims=True)  # [QUERIES, 1, 1]
    highest = tl.maximum(tl.max(most, 1, keep_dims=True), new_score)
    weight, new_weight = tl.exp(most - highest), tl.exp(new_score - highest)
    total = tl.sum(total * weight, 1, keep_dims=True) + new_weight
    mixed = tl.sum(mixed * weight, 1, keep_dims=True) + new_weight * new_value.to(tl.float32)
    result_at = row * (QUERIES * GROUPS * SIZE) + query_at
    tl.store(result + result_at, (mixed / total).to(result.dtype.element_ty), mask=real)


@triton.jit
def normalise(result, x, shift, epsilon, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """A row plus `shift`, with mean 0 and variance 1."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)[None, :]
    inside = column < WIDTH
    centred, scale = _centred(_shifted(x, shift, row * WIDTH + column, column, inside), inside, epsilon, WIDTH)
    tl.store(result + row * WIDTH + column, (centred * scale).to(result.dtype.element_ty), mask=inside)


@triton.jit
def row_product(
    result,
    x,
    shift,
    matrix,
    bias,
    epsilon,
    outputs,
    NORMALISE: tl.constexpr,
    ADD: tl.constexpr,
    GELU: tl.constexpr,
    INPUTS: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr,
    OUTPUT_BLOCK: tl.constexpr,
):
    """Some outputs of one row, normalised or not, with what is in the result or the bias added, and perhaps GELU.

    A warp has whole outputs, of which it reads chunk after chunk, and sums without waiting for others. Therefore each
    reads and normalises the row by itself.
    """
    output = tl.program_id(0) * OUTPUT_BLOCK + tl.arange(0, OUTPUT_BLOCK)[:, None, None]
    row = tl.program_id(1)
    column = tl.arange(0, CHUNKS)[None, :, None] * CHUNK + tl.arange(0, CHUNK)[None, None, :]
    wanted = output < outputs
    inside = (column < INPUTS) & (output >= 0)  # [OUTPUT_BLOCK, CHUNKS, CHUNK]
    every = column + output * 0  # the row is read once for each output, into the threads that have its weights
    weights = tl.load(matrix + output * INPUTS + column, mask=wanted & inside, other=0).to(tl.float32)
    # Loads do not move across a barrier: the weights, which are the farthest, come while the row is normalised.
    tl.debug_barrier()
    values = tl.load(x + row * INPUTS + every, mask=inside, other=0).to(tl.float32)
    if ADD:
        total = tl.load(result + row * outputs + output, mask=wanted, other=0).to(tl.float32)  # [OUTPUT_BLOCK, 1, 1]
    else:
        total = tl.load(bias + output, mask=wanted, other=0).to(tl.float32)
    if NORMALISE:
        values += tl.load(shift + every, mask=inside, other=0).to(tl.float32)
        values = tl.where(inside, values - _total(values) / INPUTS, 0)
        total += _total(weights * values) * tl.rsqrt(_total(values * values) / INPUTS + epsilon)
    else:
        total += _total(weights * values)
    if GELU:
        total = _gelu(total)
    tl.store(result + row * outputs + output, total.to(result.dtype.element_ty), mask=wanted)


@triton.jit
def tile_product(
    result,
    x,
    shift,
    matrix,
    bias,
    epsilon,
    rows,
    outputs,
    NORMALISE: tl.constexpr,
    ADD: tl.constexpr,
    GELU: tl.constexpr,
    INPUTS: tl.constexpr,
    ROW_BLOCK: tl.constexpr,
    INPUT_BLOCK: tl.constexpr,
    OUTPUT_BLOCK: tl.constexpr,
    WHOLE_BLOCK: tl.constexpr,
):
    """Some outputs of some rows, as `row_product` gives them, in bfloat16."""
    output = tl.program_id(0) * OUTPUT_BLOCK + tl.arange(0, OUTPUT_BLOCK)
    row = tl.program_id(1) * ROW_BLOCK + tl.arange(0, ROW_BLOCK)[:, None]
    real, wanted = row < rows, output < outputs
    if NORMALISE:
        every = tl.arange(0, WHOLE_BLOCK)[None, :]
        inside = (every < INPUTS) & real
        shifted = _shifted(x, shift, row * INPUTS + every, every, inside)
        mean = tl.sum(shifted, 1, keep_dims=True) / INPUTS
        _, scale = _centred(shifted, inside, epsilon, INPUTS)
    total = tl.zeros([ROW_BLOCK, OUTPUT_BLOCK], tl.float32)
    for first in range(0, INPUTS, INPUT_BLOCK):
        column = first + tl.arange(0, INPUT_BLOCK)
        across, down = column[None, :], column[:, None]
        there = (across < INPUTS) & real
        weights_at = output[None, :] * INPUTS + down
        weights = tl.load(matrix + weights_at, mask=wanted[None, :] & (down < INPUTS), other=0)
        if NORMALISE:
            moved = _shifted(x, shift, row * INPUTS + across, across, there)
            values = tl.where(there, (moved - mean) * scale, 0).to(x.dtype.element_ty)
        else:
            values = tl.load(x + row * INPUTS + across, mask=there, other=0)
        total = tl.dot(values, weights, total)
    at, written = row * outputs + output[None, :], real & wanted[None, :]
    if ADD:
        total += tl.load(result + at, mask=written, other=0).to(tl.float32)
    else:
        total += tl.load(bias + output, mask=wanted, other=0).to(tl.float32)[None, :]
    if GELU:
        total = _gelu(total)
    tl.store(result + at, total.to(result.dtype.element_ty), mask=written)


@triton.jit
def _shifted(x, shift, at, column, inside):
    """Rows plus `shift`, zero where they are not."""
    values = tl.load(x + at, mask=inside, other=0).to(tl.float32)
    return values + tl.load(shift + column, mask=inside, other=0).to(tl.float32)


@triton.jit
def _centred(values, inside, epsilon, WIDTH: tl.constexpr):
    """Rows without their mean, and what their variance is to be divided out by."""
    centred = tl.where(inside, values - tl.sum(values, 1, keep_dims=True) / WIDTH, 0)
    return centred, tl.rsqrt(tl.sum(centred * centred, 1, keep_dims=True) / WIDTH + epsilon)


@triton.jit
def _total(x):
    """The sums of a block of three axes over its last two."""
    return tl.sum(tl.sum(x, 2, keep_dims=True), 1, keep_dims=True)


@triton.jit
def _gelu(x):
    return 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
