"""The innermost loop of a matrix product: a tile of the result in vector registers.

A tile is 8 rows by 48 columns. For each of the K inputs the loop loads 48 weights and multiplies them with one number
of each row, so that every weight that is loaded serves 8 products and the sums never leave the registers. A panel is
the [K, 48] weights of a tile, in the order in which they are read. Unusual: no compiler finds this loop, so it is
written in LLVM's language, instruction by instruction, by Python. Each number is summed from input 0 to K - 1.

Source: Goto and van de Geijn 2008, Anatomy of High-Performance Matrix Multiplication, sections 3 and 4.
Shapes: K inputs, J columns of a panel, R rows of a tile.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kb.nn.compiled import emit_prefetch

ROWS, _VECTORS, _LANES, _BYTES = 8, 3, 16, 4  # a tile takes 24 of the 32 vector registers of AVX-512
WIDTH = _VECTORS * _LANES
_AHEAD = 10  # inputs whose weights are asked for before they are needed
_FLOAT, _INT = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, _LANES)


@intrinsic
def multiply_tile(typing_context: Any, x: Any, panel: Any, add: Any, out: Any, soon: Any, K: Any) -> Any:
    """One tile: ``out`` [R, J] = ``x`` [R, K] times ``panel`` [K, J] + ``add`` [R, J]; K is at least 1.

    The panel is an address; ``x``, ``add`` and ``out``, which may be ``add``, are each an address and the bytes from
    row to row. ``soon`` is an address of which a line is asked for with each input, and the bytes between these.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pairs = [cgutils.unpack_tuple(builder, arguments[i], 2) for i in (0, 2, 3, 4)]
        (x, x_step), add, out, (soon, soon_step) = pairs
        panel, K = arguments[1], arguments[5]
        rows = [builder.add(x, builder.mul(x_step, _INT(r))) for r in range(ROWS)]
        before, loop, after = builder.block, builder.append_basic_block("input"), builder.append_basic_block("done")
        builder.branch(loop)

        builder.position_at_end(loop)
        k, at, line = (builder.phi(_INT) for _ in range(3))
        sums = [builder.phi(_VECTOR) for _ in range(ROWS * _VECTORS)]
        zero = ir.Constant(_VECTOR, [0.0] * _LANES)
        nexts = [builder.add(k, _INT(1)), builder.add(at, _INT(WIDTH * _BYTES)), builder.add(line, soon_step)]
        nexts += _add_products(builder, sums, rows, k, at)
        emit_prefetch(builder, line)
        starts = [_INT(0), panel, soon] + [zero] * len(sums)
        for phi, start, following in zip([k, at, line, *sums], starts, nexts, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", nexts[0], K), loop, after)

        builder.position_at_end(after)
        added = [builder.load(place, align=_BYTES) for place in _places(builder, *add)]
        for total, more, place in zip(nexts[3:], added, _places(builder, *out), strict=True):
            builder.store(builder.fadd(total, more), place, align=_BYTES)
        return context.get_dummy_value()

    return types.void(x, panel, add, out, soon, K), generate


def _add_products(builder: Any, sums: list[Any], rows: list[Any], k: Any, at: Any) -> list[Any]:
    """In LLVM's language: the tile with the products of input k, whose weights lie at an address, added."""
    function = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    multiply_add = cgutils.get_or_insert_function(builder.module, function, f"llvm.fma.v{_LANES}f32")
    nothing, index = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)
    everywhere = ir.Constant(ir.VectorType(index, _LANES), [0] * _LANES)
    weights = []
    for v in range(_VECTORS):
        weights.append(builder.load(_pointer(builder, at, v * _LANES * _BYTES, _VECTOR), align=_BYTES))
        emit_prefetch(builder, builder.add(at, _INT((_AHEAD * WIDTH + v * _LANES) * _BYTES)))
    offset = builder.mul(k, _INT(_BYTES))
    new = []
    for r, row in enumerate(rows):
        number = builder.load(_pointer(builder, builder.add(row, offset), 0, _FLOAT))
        number = builder.shuffle_vector(builder.insert_element(nothing, number, index(0)), nothing, everywhere)
        for weight, old in zip(weights, sums[r * _VECTORS :], strict=False):
            new.append(builder.call(multiply_add, [number, weight, old]))
    return new


def _places(builder: Any, address: Any, step: Any) -> list[Any]:
    """Pointers to the vectors of a tile, row by row."""
    rows = [builder.add(address, builder.mul(step, _INT(r))) for r in range(ROWS)]
    return [_pointer(builder, row, v * _LANES * _BYTES, _VECTOR) for row in rows for v in range(_VECTORS)]


def _pointer(builder: Any, address: Any, offset: int, kind: Any) -> Any:
    return builder.inttoptr(builder.add(address, _INT(offset)), kind.as_pointer())
