"""Estimates, image quality and the demo: what the parts say together, as DataFrames."""
