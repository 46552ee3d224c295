"""`python -m sixfold` is `sixfold`."""

from sixfold.cli.main import main

main()
