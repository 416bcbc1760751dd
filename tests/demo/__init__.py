"""The demo proves itself: it ends well when all is well, badly when not, and leaves nothing."""
