"""The write wing: check, log, apply; load again; rebuild in the background."""
