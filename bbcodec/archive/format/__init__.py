"""The bytes of an archive (`docs/format.md`).

`container`: the whole. `chunks`: types, frames and bodies. `index`: directories, their entries and places. `names`:
which are safe. `tiles`: how large planes are cut.
"""
