import base64
import io

import numpy as np
import pytest
from PIL import Image

from hqsim.errors import InputError
from hqsim.report import ImageStrip, RunReport
from hqsim.report.images import contact_sheets, png_bytes


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (32, 32), (4, 6, 3)])
def test_another_decoder_reads_the_same_pixels(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    with Image.open(io.BytesIO(png_bytes(pixels))) as image:
        assert np.array_equal(np.asarray(image), pixels)
        assert image.info == {}


def test_columns_share_their_label_and_rows_their_executor():
    codes = np.arange(12, dtype=np.uint8).reshape(12, 1, 1)
    contact = contact_sheets(
        (ImageStrip("float", codes), ImageStrip("integer", codes[::-1])), tuple("abcdefghijkl")
    )
    assert [sheet.labels for sheet in contact.sheets] == [tuple("abcdefghij"), ("k", "l")]
    address, text = contact.sheets[1].rows[1].images[1]
    assert text == "integer, image 11, l"
    with Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,")))) as image:
        assert image.getpixel((0, 0)) == 0


def test_a_page_does_not_drown_in_images():
    many = ImageStrip("float", np.zeros((500, 8, 8), np.uint8))
    contact = contact_sheets((many,), ())
    assert (contact.shown, contact.total) == (40, 500)
    large = ImageStrip("float", np.zeros((3, 1024, 1024, 3), np.uint8))
    assert contact_sheets((large,), ()).shown == 1


@pytest.mark.parametrize(
    ("codes", "got"),
    [
        (np.zeros((2, 4, 4)), r"float64 \[2, 4, 4\]"),
        (np.zeros((4, 4), np.uint8), r"uint8 \[4, 4\]"),
        (np.zeros((2, 4, 4, 4), np.uint8), r"uint8 \[2, 4, 4, 4\]"),
        (np.zeros((0, 4, 4), np.uint8), r"uint8 \[0, 4, 4\]"),
    ],
)
def test_other_arrays_are_refused(codes, got):
    with pytest.raises(InputError, match=rf"^images of executor 'float': got {got}, allowed is uint8"):
        ImageStrip("float", codes)


def test_strips_must_fit_together():
    one, two = np.zeros((1, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(InputError, match=r"^images: every executor needs the same number"):
        RunReport(name="x", images=(ImageStrip("float", one), ImageStrip("integer", two)))
    with pytest.raises(InputError, match=r"^image_labels: got 1 labels for 2 images"):
        RunReport(name="x", images=(ImageStrip("float", two),), image_labels=("3",))
    with pytest.raises(InputError, match=r"^images: an executor occurs twice"):
        RunReport(name="x", images=(ImageStrip("float", one), ImageStrip("float", one)))
