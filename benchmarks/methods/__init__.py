"""The methods beside each other on the embedded models: docs/METHODS.md with its tables, CSVs and figures.

``python -m benchmarks.methods --work FOLDER`` runs a journal of units (quantize or train; sample a batch;
judge; study), each a folder that appears when it is complete, and writes the page from whatever is there. It
may be killed at any moment and started again, over as many nights as it takes.
"""
