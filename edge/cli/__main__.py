"""`python -m edge.cli`: the command where it is not on the path."""

from edge.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
