"""The seam: a kind of saga that stands in the tests alone runs like those that ship."""
