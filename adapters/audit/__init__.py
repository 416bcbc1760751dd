"""`uprp audit`: whether the invariants of `domain.md` 4.1 hold in the live database."""
