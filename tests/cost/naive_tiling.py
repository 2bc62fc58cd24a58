"""The search for tiles the obvious way: every tiling is walked tile by tile, every crossing counted.

Operands lie in ranges of elements; each has a buffer of one tile. Nothing is shared with the package.
"""

from __future__ import annotations

import math
from itertools import permutations, product


def pieces_of(length, outer=1):
    """The numbers of pieces that the space allows inside ``outer`` pieces."""
    counts = [outer]
    while counts[-1] < length:
        counts.append(min(length, counts[-1] * 2))
    return counts


def ranges(length, count):
    return [(i * length // count, (i + 1) * length // count) for i in range(count)]


class Plain:
    """A product of matrices: the first operand's elements are its own."""

    def __init__(self, m, n, k):
        self.sizes = (m, n, k)

    def m_pieces(self, outer):
        return pieces_of(self.sizes[0], outer)

    def m_ranges(self, count):
        return ranges(self.sizes[0], count)

    def first(self, m, k):
        return (m[1] - m[0]) * (k[1] - k[0])

    def outputs(self, m):
        return m[1] - m[0]

    def k_pieces(self, outer):
        return pieces_of(self.sizes[2], outer)

    def k_ranges(self, count):
        return ranges(self.sizes[2], count)

    def taps(self, k):
        return k[1] - k[0]


class Convolution:
    """Pixels are cut image by image, then by rows, then within rows; an input pixel is a coordinate."""

    def __init__(self, *, batch, size, kernel, stride, channels, n):
        out = size * stride if stride > 1 else size
        self.batch, self.kernel, self.stride, self.channels = batch, kernel, stride, channels
        self.in_size, self.out_size = out, size
        self.before = max(0, (size - 1) * stride + kernel - out) // 2
        self.sizes = (batch * size * size, n, kernel * kernel * channels)

    def m_pieces(self, outer):
        batch, size = self.batch, self.out_size
        chain = list(pieces_of(batch))
        chain += [batch * count for count in pieces_of(size)[1:]]
        chain += [batch * size * count for count in pieces_of(size)[1:]]
        return chain[chain.index(outer) :]

    def m_ranges(self, count):
        images = min(count, self.batch)
        rows = min(count // images, self.out_size)
        columns = count // images // rows
        size = self.out_size
        return list(product(ranges(self.batch, images), ranges(size, rows), ranges(size, columns)))

    def _seen(self, low, high):
        seen = set()
        for position in range(low, high):
            start = position * self.stride - self.before
            seen |= {pixel for pixel in range(start, start + self.kernel) if 0 <= pixel < self.in_size}
        # A row or column between two windows lies in the rectangle that is fetched.
        return max(seen) - min(seen) + 1

    def first(self, m, k):
        images, rows, columns = m
        return (images[1] - images[0]) * self._seen(*rows) * self._seen(*columns) * (k[1] - k[0])

    def outputs(self, m):
        return math.prod(high - low for low, high in m)

    def k_pieces(self, outer):
        return pieces_of(self.channels, outer)

    def k_ranges(self, count):
        return ranges(self.channels, count)

    def taps(self, k):
        return (k[1] - k[0]) * self.kernel**2


def inside(inner, outer):
    if isinstance(inner[0], tuple):
        return all(inside(a, b) for a, b in zip(inner, outer, strict=True))
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def largest(layer, counts):
    """The elements of the largest tile: of the first operand, the second one, and the sums."""
    m, n, k = layer.m_ranges(counts[0]), ranges(layer.sizes[1], counts[1]), layer.k_ranges(counts[2])
    wide = max(high - low for low, high in n)
    return {
        "a": max(layer.first(i, j) for i in m for j in k),
        "w": wide * max(layer.taps(j) for j in k),
        "s": max(layer.outputs(i) for i in m) * wide,
    }


def walk(layer, counts, outer, order, *, keep):
    """Elements that cross of each operand (of the sums: visits times sums), over all outer tiles.

    ``keep``: a buffer keeps its tile until another one is needed; else all buffers are emptied whenever
    the innermost loop that runs at all starts again.
    """

    def cut(pieces):
        m, n, k = pieces
        return {"m": layer.m_ranges(m), "n": ranges(layer.sizes[1], n), "k": layer.k_ranges(k)}

    inner_cuts, outer_cuts = cut(counts), cut(outer)
    running = [d for d in order if counts["mnk".index(d)] > outer["mnk".index(d)]]
    innermost = running[-1] if running else order[-1]
    crossed = dict.fromkeys("aws", 0)
    for outside in product(*(outer_cuts[d] for d in "mnk")):
        held, outer_position = {}, None
        loops = [[r for r in inner_cuts[d] if inside(r, outside["mnk".index(d)])] for d in order]
        for steps in product(*loops):
            at = dict(zip(order, steps, strict=True))
            position = tuple(at[d] for d in order if d != innermost)
            if not keep and position != outer_position:
                held, outer_position = {}, position
            tiles = {"a": (at["m"], at["k"]), "w": (at["n"], at["k"]), "s": (at["m"], at["n"])}
            n_size = at["n"][1] - at["n"][0]
            sizes = {
                "a": layer.first(at["m"], at["k"]),
                "w": n_size * layer.taps(at["k"]),
                "s": layer.outputs(at["m"]) * n_size,
            }
            for operand, tile in tiles.items():
                if held.get(operand) != tile:
                    held[operand] = tile
                    crossed[operand] += sizes[operand]
    return crossed


def merit(level_bytes, *, bytes_per_cycle, exposed, engine_cycles):
    """What a tiling is judged by: cycles, then bytes of the memories, outermost first."""
    cycles = [math.ceil(moved / speed) for moved, speed in zip(level_bytes, bytes_per_cycle, strict=True)]
    beside = [engine_cycles] + [c for c, alone in zip(cycles, exposed, strict=True) if not alone]
    after = [c for c, alone in zip(cycles, exposed, strict=True) if alone]
    return (max(beside) + sum(after), *reversed(level_bytes))


def best_merit(layer, stages, *, bits, bytes_per_cycle, exposed, engine_cycles, keep=False):
    """The least merit of all tilings; ``stages`` as (rooms, links), outermost first.

    A room is (capacity, {operand: bits per element}), a link (operand, target, source); ``bits`` are what
    an element of each operand moves.
    """
    speeds = {"bytes_per_cycle": bytes_per_cycle, "exposed": exposed, "engine_cycles": engine_cycles}

    def tilings(index, outer):
        """Yield the bytes of every memory for every tiling of the stages from ``index``."""
        if index == len(stages):
            yield (0.0,) * len(bytes_per_cycle)
            return
        rooms, links = stages[index]
        axes = (layer.m_pieces(outer[0]), pieces_of(layer.sizes[1], outer[1]), layer.k_pieces(outer[2]))
        for counts in product(*axes):
            tile = largest(layer, counts)
            if any(sum(tile[x] * b for x, b in held.items()) > capacity for capacity, held in rooms):
                continue
            walks = set()
            for order in map("".join, permutations("mnk")):
                crossed = walk(layer, counts, outer, order, keep=keep)
                sums = layer.sizes[0] * layer.sizes[1]
                moved = {
                    "a": crossed["a"] * bits["a"] / 8,
                    "w": crossed["w"] * bits["w"] / 8,
                    "s": 2 * (crossed["s"] - sums) * bits["s"] / 8,
                }
                own = [0.0] * len(bytes_per_cycle)
                for operand, target, source in links:
                    own[target] += moved[operand]
                    own[source] += moved[operand]
                walks.add(tuple(own))
            for below in set(tilings(index + 1, counts)):
                for own in walks:
                    yield tuple(a + b for a, b in zip(own, below, strict=True))

    return min((merit(moved, **speeds) for moved in tilings(0, (1, 1, 1))), default=None)
