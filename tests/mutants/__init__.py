"""Planted bugs: each one must turn a checker red."""
