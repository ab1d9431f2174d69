"""`python -m nas_suite` is `nas`."""

from nas_suite.cli import main

if __name__ == "__main__":
    main()
