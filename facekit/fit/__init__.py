"""Fitting the morphable model to photographs."""
