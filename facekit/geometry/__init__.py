"""Pure functions on points, rotations, cameras and meshes."""
