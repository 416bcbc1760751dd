"""The shipped coordinator on a virtual clock: one seed, one run (`design.md` 7)."""
