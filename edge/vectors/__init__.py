"""One kind of vector a file: its columns, and the index built over them."""
