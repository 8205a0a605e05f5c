"""Text: how it is cut into words, what becomes of a word, and how words become sparse vectors."""
