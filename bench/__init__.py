"""Benchmarks against limits and peers: `python -m bench`, or `make bench`."""
