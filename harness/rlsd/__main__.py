"""`python -m rlsd` is the command `rlsd`."""

from rlsd.harness.cli.app import main

main()
