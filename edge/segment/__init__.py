"""Segments: columns by offset, the indexes over them, and the frozen views that readers hold."""
