"""Benchmarks: one file per protocol, speed."""
