"""Capture stages: calibration, sparse and dense reconstruction."""
