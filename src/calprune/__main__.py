"""python -m calprune: the command line."""

from calprune.cli import main

if __name__ == "__main__":
    main()
