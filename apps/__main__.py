"""`python -m apps SUBCOMMAND`: the command `keras-nas` in a checkout."""

from apps.command import main

main()
