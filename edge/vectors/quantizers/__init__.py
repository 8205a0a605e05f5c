"""The kinds of quantization: one file each, and what they share."""
