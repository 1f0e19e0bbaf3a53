"""`python -m controller` is `ftctl`."""

from controller.cli import main

if __name__ == "__main__":
    main()
