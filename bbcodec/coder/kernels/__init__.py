"""The compiled loops of the coder: rANS fused with the integer cumulative function of each family, a module a family.

A kernel gets the coder's heads (uint64), its tail `words` (uint32) of which n are in use, N symbols, parameters with N
rows, and tables. It returns the new n, or a negative number for a failure, after which heads must be discarded.
Symbols are pushed last to first and popped first to last; the i-th goes through head i % lanes.

The module of a family has three kernels, `push`, `pop` and `information`, which take the same parameters. `information`
writes the bits of each symbol, in 2**-24, into `out`.

All arithmetic is in int64 but for the heads; the comments give the bounds.
"""
