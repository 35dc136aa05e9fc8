"""The published methods' loss terms as pure torch functions, and their colour mask in numpy."""
