"""`python -m rlsd` is the command `rlsd`."""

from rlsd.harness.cli import main

main()
