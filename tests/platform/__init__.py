"""The platform as a whole and its store: real coordinators on real servers."""
