"""What encoding takes beyond numpy: many short dot products, the nearest of 256, a query's planes.

Invariants:
- A row's result never depends on the rows beside it: the order of operations is fixed, one
  eight-lane accumulator for each number, whether four rows are computed at once or one.
- Rows are C-contiguous float32[n, stride], stride a multiple of 16, and finite.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edge_kernels.encodings import PREFIX, SLICED_HEADER
from edge_kernels.jit import (
    address_of,
    bits_of_f32,
    call,
    door,
    f32_of_bits,
    f32_of_int,
    fma8,
    inner,
    load8,
    load_f32,
    load_i32,
    load_i64,
    splat8,
    store8,
    store_f32,
    store_i64,
    store_u8,
    sub8,
    sum8,
    zero8,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

CENTROIDS = 256
ZERO = cast(float, np.float32(0))  # a bare 0.0 would be a float64 in a kernel
HALF, ONE = cast(float, np.float32(0.5)), cast(float, np.float32(1))
LEAST_STEP = cast(float, np.float32(1e-37))  # of which the inverse is finite
TOP = cast(float, np.float32(127))
WHOLE = cast(float, np.float32(3 << 22))  # a float32 from there on has no fraction
_LANES = 8


def project(rows: Floats, matrix: Floats, starts: NDArray[np.int32]) -> Floats:
    """float32[n, k]: out[i, j] = matrix[j] . rows[i, starts[j] : starts[j] + width].

    `rows` float32[n, stride], `matrix` float32[k, width], width a multiple of 8, `starts` int32[k].
    ValueError if a start is outside, the width is another, the shapes disagree or an array is not
    C-contiguous.
    """
    (n, stride), (k, width) = rows.shape, matrix.shape
    _check_contiguous(rows, matrix, starts)
    if width % _LANES or starts.shape != (k,):
        raise ValueError(f"a matrix of {matrix.shape} with {starts.shape} starts")
    if k and (int(starts.min()) < 0 or int(starts.max()) + width > stride):
        raise ValueError(f"a start is outside 0..{stride - width}")
    out = np.empty((n, k), np.float32)
    call(
        _project,
        address_of(rows),
        n,
        4 * stride,
        address_of(matrix),
        k,
        4 * width,
        address_of(starts),
        address_of(out),
    )
    return out


def nearest(rows: Floats, centroids: Floats) -> NDArray[np.uint8]:
    """uint8[n, chunks]: which of a chunk's 256 centroids is nearest, by the sum of squares.

    `rows` float32[n, stride], `centroids` float32[chunks, width, 256]; chunk c is the elements
    from c * width on. The lowest of those that are equally near to one part in 2^15. ValueError if
    the chunks do not lie in the row, or an array is not C-contiguous.
    """
    (n, stride), (chunks, width, count) = rows.shape, centroids.shape
    _check_contiguous(rows, centroids)
    if count != CENTROIDS or chunks * width > stride:
        raise ValueError(f"centroids of shape {centroids.shape} for rows of {stride}")
    out = np.empty((n, chunks), np.uint8)
    scratch = np.empty(CENTROIDS, np.float32)
    call(
        _nearest,
        address_of(rows),
        n,
        4 * stride,
        address_of(centroids.reshape(-1)),
        chunks,
        width,
        address_of(scratch),
        address_of(out),
    )
    return out


def slice_query(
    form: NDArray[np.uint8], numbers: Floats, fills: NDArray[np.int32], spread: float
) -> None:
    """Complete a query of bit planes, in place.

    `form` has its header but for the step and the biases, and room for the planes; `numbers`
    float32[64 * words[0]] are what the slots hold, of which the first `fills` int32[words[0]] of
    each word are used. The step is that which covers the whole range or, if that is less and above
    0, `spread` times the root mean square. ValueError if the shapes disagree.
    """
    words = form[:SLICED_HEADER].view(np.int64)
    longest = int(words[4])
    needed = SLICED_HEADER + 8 * int(words[1]) * longest
    if form.size != needed or numbers.shape != (64 * longest,) or fills.shape != (longest,):
        raise ValueError(f"a form of {form.size} bytes for {numbers.size} numbers")
    times = np.array([spread], np.float32)
    call(_slice_query, address_of(form), address_of(numbers), address_of(fills), address_of(times))


def code_query(
    form: NDArray[np.uint8],
    numbers: Floats,
    step: NDArray[np.float32],
    offset: Floats | None = None,
) -> None:
    """Write an INT8 query of `numbers` float32[stride], in place; `form` is all zeros but for what
    this writes.

    `step` float32[2] is what one is of a row's code, and the factor of a query whose codes have
    the same. With an `offset` float32[stride], which is taken off first, they do have it. Without,
    they have the step by which the greatest number is 127, and the factor is that times step[0].
    ValueError if the shapes disagree.
    """
    if form.size < PREFIX + numbers.size or step.size != 2:
        raise ValueError(f"a form of {form.size} bytes for {numbers.size} numbers")
    if offset is not None and offset.shape != numbers.shape:
        raise ValueError(f"an offset of {offset.size} numbers for {numbers.size}")
    about = 0 if offset is None else address_of(offset)
    words = address_of(numbers), numbers.size, address_of(step)
    call(_code_query, address_of(form), *words, about)


def _check_contiguous(*arrays: NDArray[Any]) -> None:
    if not all(array.flags.c_contiguous for array in arrays):
        raise ValueError("arrays must be C-contiguous")


# --- kernels ---------------------------------------------------------------------------------


@inner
def _four_by_two(
    first: int, second: int, row: int, size: int, width: int, out: int, k: int
) -> None:
    """Two rows of the matrix by four rows; `out` is where the first row's first number goes."""
    a0, b0, c0, d0 = zero8(), zero8(), zero8(), zero8()
    a1, b1, c1, d1 = zero8(), zero8(), zero8(), zero8()
    rest = second - first
    for at in range(first, first + width, 32):
        m, n = load8(at), load8(at + rest)
        x = row + (at - first)
        a, b = load8(x), load8(x + size)
        c, d = load8(x + 2 * size), load8(x + 3 * size)
        a0, b0, c0, d0 = fma8(m, a, a0), fma8(m, b, b0), fma8(m, c, c0), fma8(m, d, d0)
        a1, b1, c1, d1 = fma8(n, a, a1), fma8(n, b, b1), fma8(n, c, c1), fma8(n, d, d1)
    store_f32(out, sum8(a0))
    store_f32(out + 4, sum8(a1))
    store_f32(out + 4 * k, sum8(b0))
    store_f32(out + 4 * k + 4, sum8(b1))
    store_f32(out + 8 * k, sum8(c0))
    store_f32(out + 8 * k + 4, sum8(c1))
    store_f32(out + 12 * k, sum8(d0))
    store_f32(out + 12 * k + 4, sum8(d1))


@inner
def _one(matrix: int, row: int, width: int) -> float:
    total = zero8()
    for at in range(0, width, 32):
        total = fma8(load8(matrix + at), load8(row + at), total)
    return sum8(total)


@inner
def _one_by_four(matrix: int, row: int, width: int, out: int) -> None:
    """Four rows of the matrix, which read the same part of one row."""
    a, b, c, d = zero8(), zero8(), zero8(), zero8()
    for at in range(0, width, 32):
        x, m = load8(row + at), matrix + at
        a, b = fma8(load8(m), x, a), fma8(load8(m + width), x, b)
        c, d = fma8(load8(m + 2 * width), x, c), fma8(load8(m + 3 * width), x, d)
    store_f32(out, sum8(a))
    store_f32(out + 4, sum8(b))
    store_f32(out + 8, sum8(c))
    store_f32(out + 12, sum8(d))


@inner
def _project_one(row: int, matrix: int, k: int, width: int, starts: int, out: int) -> None:
    j = 0
    while j < k:
        start = load_i32(starts + 4 * j)
        x, m = row + 4 * start, matrix + j * width
        if j + 4 <= k and _same_start(starts + 4 * j, start):
            _one_by_four(m, x, width, out + 4 * j)
            j += 4
        else:
            store_f32(out + 4 * j, _one(m, x, width))
            j += 1


@inner
def _same_start(starts: int, start: int) -> bool:
    other = load_i32(starts + 4) ^ start
    other |= load_i32(starts + 8) ^ start
    other |= load_i32(starts + 12) ^ start
    return other == 0


@inner
def _project_four(
    row: int, size: int, matrix: int, k: int, width: int, starts: int, out: int
) -> None:
    j = 0
    while j < k:
        start = load_i32(starts + 4 * j)
        x, m = row + 4 * start, matrix + j * width
        if j + 2 <= k and load_i32(starts + 4 * j + 4) == start:
            _four_by_two(m, m + width, x, size, width, out + 4 * j, k)
            j += 2
        else:
            for i in range(4):
                store_f32(out + 4 * (i * k + j), _one(m, x + i * size, width))
            j += 1


@door
def _project(block: int) -> int:
    rows, n, size = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    matrix, k, width = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    starts, out = load_i64(block + 48), load_i64(block + 56)
    i = 0
    while i + 4 <= n:
        _project_four(rows + i * size, size, matrix, k, width, starts, out + 4 * i * k)
        i += 4
    while i < n:
        _project_one(rows + i * size, matrix, k, width, starts, out + 4 * i * k)
        i += 1
    return 0


@inner
def _squares_to_centroids(row: int, centroids: int, width: int, out: int) -> None:
    """float32[256] at `out`: the squared distances of `width` floats to all centroids."""
    for at in range(0, 1024, 128):
        a, b, c, d = zero8(), zero8(), zero8(), zero8()
        for i in range(width):
            x = splat8(load_f32(row + 4 * i))
            place = centroids + 1024 * i + at
            e, f = sub8(x, load8(place)), sub8(x, load8(place + 32))
            g, h = sub8(x, load8(place + 64)), sub8(x, load8(place + 96))
            a, b, c, d = fma8(e, e, a), fma8(f, f, b), fma8(g, g, c), fma8(h, h, d)
        store8(out + at, a)
        store8(out + at + 32, b)
        store8(out + at + 64, c)
        store8(out + at + 96, d)


@inner
def _least(squares: int) -> int:
    """The place of the least of float32[256], none of them negative.

    Such floats are ordered as their bits are; the lowest eight bits make room for the place, so
    one minimum finds both.
    """
    best = 0x7FFFFFFF
    for i in range(CENTROIDS):
        best = min(best, (load_i32(squares + 4 * i) & -256) | i)
    return best & 255


@door
def _nearest(block: int) -> int:
    rows, n, size = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    centroids, chunks, width = load_i64(block + 24), load_i64(block + 32), load_i64(block + 40)
    scratch, out = load_i64(block + 48), load_i64(block + 56)
    # Chunk by chunk, so that its centroids stay in the first cache while all rows pass.
    for c in range(chunks):
        row, places = rows + 4 * c * width, centroids + 1024 * c * width
        for i in range(n):
            _squares_to_centroids(row + i * size, places, width, scratch)
            store_u8(out + i * chunks + c, _least(scratch))
    return 0


@inner
def _query_step(numbers: int, fills: int, words: int, levels: int, spread: float) -> float:
    most, squares, used = ZERO, ZERO, 0
    for word in range(words):
        fill = load_i32(fills + 4 * word)
        used += fill
        for at in range(numbers + 256 * word, numbers + 256 * word + 4 * fill, 4):
            x = load_f32(at)
            most, squares = max(most, abs(x)), squares + x * x
    whole = (most + most) / f32_of_int(levels - 1)
    typical = spread * math.sqrt(squares / f32_of_int(max(1, used)))
    return typical if ZERO < typical < whole else whole


@inner
def _query_word(
    numbers: int, fill: int, bits: int, levels: int, inverse: float, planes: int, gap: int
) -> int:
    """Write one word of each plane, `gap` bytes apart; the sum of the codes."""
    total = 0
    middle, top = f32_of_int(levels) * HALF, f32_of_int(levels - 1)
    for j in range(bits):
        store_i64(planes + gap * j, 0)
    for i in range(fill):
        x = load_f32(numbers + 4 * i) * inverse + middle
        code = int(min(max(x, ZERO), top))
        total += code
        for j in range(bits):
            place = planes + gap * j
            store_i64(place, load_i64(place) | (((code >> j) & 1) << i))
    return total


@inner
def _own_step(numbers: int, count: int) -> float:
    most = 0  # bits of floats without a sign are ordered as the floats are
    for i in range(count):
        most = max(most, load_i32(numbers + 4 * i) & 0x7FFFFFFF)
    return max(f32_of_bits(most) / TOP, LEAST_STEP)


@inner
def _code(number: float) -> int:
    """The whole number next to a float, of two the even one, from -127 to 127, in eight bits."""
    return bits_of_f32(min(max(number, -TOP), TOP) + WHOLE)


@door
def _code_query(block: int) -> int:
    form, numbers, count = load_i64(block), load_i64(block + 8), load_i64(block + 16)
    of_rows, offset = load_i64(block + 24), load_i64(block + 32)
    codes, step = form + PREFIX, load_f32(of_rows)
    if offset != 0:
        store_f32(form, load_f32(of_rows + 4))
        for i in range(count):
            about = load_f32(numbers + 4 * i) - load_f32(offset + 4 * i)
            store_u8(codes + i, _code(about / step))
        return 0
    own = _own_step(numbers, count)
    store_f32(form, step * own)
    for i in range(count):
        store_u8(codes + i, _code(load_f32(numbers + 4 * i) / own))
    return 0


@door
def _slice_query(block: int) -> int:
    form, numbers = load_i64(block), load_i64(block + 8)
    fills, spread = load_i64(block + 16), load_f32(load_i64(block + 24))
    bits, words = load_i64(form + 8), load_i64(form + 32)
    levels = 1 << bits
    step = _query_step(numbers, fills, words, levels, spread)
    inverse = ONE / step if step > LEAST_STEP else ZERO
    store_f32(form + 16, step)
    doubled = 0  # the sum of the codes about their middle, which lies between two of them
    for word in range(words):
        fill, place = load_i32(fills + 4 * word), form + SLICED_HEADER + 8 * word
        total = _query_word(numbers + 256 * word, fill, bits, levels, inverse, place, 8 * words)
        doubled += 2 * total - fill * (levels - 1)
        for plane in range(load_i64(form)):
            if load_i64(form + 32 + 8 * plane) == word + 1:
                store_f32(form + 96 + 8 * plane, step * HALF * f32_of_int(doubled))
    return 0
