"""``python -m hqsim``: the command line."""

from hqsim.cli import main

if __name__ == "__main__":
    main()
