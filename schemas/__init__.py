"""The wire contract, version 1: what partner systems write to and read from.

Everything in this package is public. Once a partner uses it, only additions are allowed.
"""
