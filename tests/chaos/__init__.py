"""Everything at once on real servers: kills, pauses, restarts, a full disk, hostile companies."""
