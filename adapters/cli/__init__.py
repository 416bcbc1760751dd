"""The command line `uprp`."""
