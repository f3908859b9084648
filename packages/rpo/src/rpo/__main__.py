"""`python -m rpo`."""

from rpo.cli import main

main()
