"""The saga engine, alone: its table, every state it can reach, and worlds that keep their truth."""
