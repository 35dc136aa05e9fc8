"""Results to files: meshes, reports."""
