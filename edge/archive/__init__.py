"""Snapshots, ours and Qdrant's: written from what a store holds, and read into what it becomes."""
