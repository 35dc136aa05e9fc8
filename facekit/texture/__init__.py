"""Textures from photographs: unwrapped, completed, blended, and freed of their light."""
