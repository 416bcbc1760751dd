"""The catalogue: the programmes on offer and the participants, read from files and checked."""
