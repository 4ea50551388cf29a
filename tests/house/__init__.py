"""Measures how the house is built: rooms, imports, names and words, each against its goal."""
