"""Timings, as ratios against a baseline measured in the same run: ``make bench``, ``python -m benchmarks NAME ...``."""
