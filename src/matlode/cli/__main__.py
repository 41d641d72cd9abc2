"""``python -m matlode.cli``."""

from matlode.cli import main

if __name__ == "__main__":
    main()
