"""The command `edgeshard`."""
