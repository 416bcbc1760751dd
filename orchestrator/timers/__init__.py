"""Due timers and decisions of people become records."""
