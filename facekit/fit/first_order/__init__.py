"""The published first-order fits: Adam through the differentiable renderer (torch)."""
