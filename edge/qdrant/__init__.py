"""Qdrant's own files: a shard directory of Qdrant or Qdrant Edge read into ours, and written.

Invariant: everything read here was written by another program and is bounds-checked before it is
sliced; what it cannot be is a CorruptData, and what is not read is refused by its name.
"""
