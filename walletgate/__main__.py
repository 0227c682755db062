"""`python -m walletgate`."""

from walletgate.cli import main

main()
