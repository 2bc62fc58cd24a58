"""The collector rests while objects are made that stay, and is as before afterwards."""

import gc

import pytest

from hqsim.graph.garbage import uncollected


def test_the_collector_rests_and_works_again():
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled(), "an inner rest does not end the outer one"
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_error_ends_the_rest():
    @uncollected()
    def fail():
        raise KeyError(gc.isenabled())

    with pytest.raises(KeyError, match="False"):
        fail()
    assert gc.isenabled()
