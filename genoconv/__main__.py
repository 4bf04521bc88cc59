"""`python -m genoconv` is `genoconv`."""

from genoconv.cli.app import main

main()
