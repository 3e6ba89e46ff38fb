"""`python -m caravan` and the console script `caravan`: every failure is one line, unless CARAVAN_DEBUG=1 asks for more."""

import os
import sys


def main() -> None:
    """Run the command line."""
    from caravan.errors import Problem

    try:
        from caravan.cli import app

        app()
    except Problem as problem:
        _explain(problem, problem.status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _explain(error, 1)
    except Exception as error:  # noqa: BLE001 (the last line of defence: a user gets a line, not a traceback)
        _explain(error, 1)


def _explain(error: Exception, status: int) -> None:
    if os.environ.get("CARAVAN_DEBUG"):
        raise error
    print(f"caravan: {_words(error)}", file=sys.stderr)
    sys.exit(status)


def _words(error: Exception) -> str:
    """One line; an error that was not foreseen names its type and how to see more."""
    import errno

    from caravan.errors import Problem
    from streams.errors import CaravanError

    text = " ".join(str(error).split())
    if isinstance(error, Problem | CaravanError):
        return text
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or 'while writing'}): free some space and run this again"
    if isinstance(error, PermissionError):
        return f"no permission for {error.filename}: run this as its owner, or choose another folder with --data-dir"
    return f"{type(error).__name__}: {text} (CARAVAN_DEBUG=1 shows where)"


if __name__ == "__main__":
    main()
