"""`python -m gkc` is the command `gkc`."""

from gkc.cli.app import main

if __name__ == "__main__":
    main()
