"""Benchmarks: what the product must reach, measured against a peer in the same run."""
