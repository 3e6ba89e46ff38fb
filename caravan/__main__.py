"""`python -m caravan` and the console script `caravan`: every failure is one line, unless CARAVAN_DEBUG=1 asks for more."""

import errno
import os
import sys


def main() -> None:
    """Run the command line and exit."""
    import typer

    from caravan.cli import app
    from caravan.errors import Problem

    try:
        sys.exit(app(prog_name="caravan", standalone_mode=False))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("CARAVAN_DEBUG"):
            raise
        print(f"caravan: {explain(error)}", file=sys.stderr)
        sys.exit(error.status if isinstance(error, Problem) else getattr(error, "exit_code", 1))


def explain(error: Exception) -> str:
    """One line that says what to do; an error that nobody foresaw names its type and how to see more."""
    from caravan.errors import Problem
    from streams.errors import CaravanError

    text = " ".join(str(error).split())
    if usage := getattr(error, "format_message", None):  # typer's usage errors, whose class has no public name
        context = getattr(error, "ctx", None)
        return f"{' '.join(usage().split()).rstrip('.')}; see: {context.command_path if context else 'caravan'} --help"
    if isinstance(error, Problem | CaravanError):
        return text
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or 'while writing'}): free some space and run this again"
    if isinstance(error, PermissionError) and error.filename:
        return f"no permission for {error.filename}: run this as its owner, or choose another folder with --data-dir"
    return f"{type(error).__name__}: {text} (CARAVAN_DEBUG=1 shows where)"


if __name__ == "__main__":
    main()
