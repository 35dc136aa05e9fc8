"""Rasterising, interpolation and shading on the CPU."""
