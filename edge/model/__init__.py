"""The words of the API: frozen structs that know no behaviour beyond their own checks."""
