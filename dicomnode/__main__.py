"""`python -m dicomnode`: the command line."""

from dicomnode.cli import main

main()
