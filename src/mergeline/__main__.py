"""The command `mergeline`, also as `python -m mergeline`.

In: arguments. Out: an exit status. Never: anything of its own.
"""


def main() -> None:
    """Run the command; Ctrl-C is heard while its packages are imported too, which takes half a second."""
    try:
        from mergeline.cli import main as command  # noqa: PLC0415 - inside of what hears Ctrl-C
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    command(prog_name="mergeline")


if __name__ == "__main__":
    main()
