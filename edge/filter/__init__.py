"""The filter room: which points of a view match a filter."""
