"""`python -m training.cli`, as torchrun starts it."""

from training.cli import main

main()
