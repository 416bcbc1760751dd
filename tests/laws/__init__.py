"""Laws: one suite per port, kept by every adapter of it."""
