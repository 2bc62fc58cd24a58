"""Integer kernels in numba: pure functions of arrays and scalars, threaded over independent rows.

No kernel contains a floating-point value; ``tests/kernels/test_integers_only.py`` reads the compiled
types and says so.
"""
