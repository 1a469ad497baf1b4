"""`python -m mergeline`: the same as the command `mergeline`.

In: arguments. Out: an exit status. Never: anything of its own.
"""

from mergeline.cli import main

if __name__ == "__main__":
    main(prog_name="mergeline")
