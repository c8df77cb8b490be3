"""The coder: rANS on a stack, its integer tables, and compiled kernels."""
