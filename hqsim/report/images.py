"""Image codes as PNG text for the page, and the strips arranged so that columns share their noise."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hqsim.report.data import ImageStrip

COLUMNS = 10
MAX_IMAGES = 40
PIXEL_BUDGET = 1_500_000


@dataclass(frozen=True)
class SheetRow:
    """One executor's part of a block of columns: (data address of the PNG, text in its place)."""

    executor: str
    caption: str
    images: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sheet:
    """A block of at most ten columns: labels on top, one row per executor."""

    labels: tuple[str, ...]
    rows: tuple[SheetRow, ...]


@dataclass(frozen=True)
class ContactSheets:
    """All blocks, and how many of how many images they show."""

    sheets: tuple[Sheet, ...]
    shown: int
    total: int

    def __bool__(self) -> bool:
        return bool(self.sheets)


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Encode ``pixels`` (uint8 ``[h, w]`` or ``[h, w, 3]``) as PNG, without any metadata (RFC 2083)."""
    height, width = pixels.shape[:2]
    colour_type = 0 if pixels.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    unfiltered = np.zeros((height, 1), np.uint8)
    lines = np.concatenate([unfiltered, np.ascontiguousarray(pixels).reshape(height, -1)], axis=1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def contact_sheets(strips: tuple[ImageStrip, ...], labels: tuple[str, ...]) -> ContactSheets:
    """Arrange ``strips`` in blocks of ten columns; large or many images are cut to what a page can hold."""
    if not strips:
        return ContactSheets((), 0, 0)
    total = len(strips[0].codes)
    pixels_per_column = sum(int(np.prod(strip.codes.shape[1:])) for strip in strips)
    shown = min(total, MAX_IMAGES, max(1, PIXEL_BUDGET // pixels_per_column))
    sheets = []
    for start in range(0, shown, COLUMNS):
        span = range(start, min(start + COLUMNS, shown))
        rows = (
            SheetRow(strip.executor, strip.caption, tuple(_image(strip, index, labels) for index in span))
            for strip in strips
        )
        sheets.append(Sheet(tuple(labels[index] for index in span) if labels else (), tuple(rows)))
    return ContactSheets(tuple(sheets), shown, total)


def _image(strip: ImageStrip, index: int, labels: tuple[str, ...]) -> tuple[str, str]:
    text = base64.b64encode(png_bytes(strip.codes[index])).decode("ascii")
    name = f"{strip.executor}, image {index}" + (f", {labels[index]}" if labels else "")
    return f"data:image/png;base64,{text}", name
