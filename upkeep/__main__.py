"""The command line: `python -m upkeep doctor | backup | list | verify | restore`.

Only the standard library is imported before `doctor` has said what is missing.
"""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """0 where all went well, 1 where something is wrong, 2 where it was refused."""
    asked = sys.argv[1:] if arguments is None else arguments
    if asked[:1] == ["doctor"]:
        from upkeep.doctor import examine
        from upkeep.findings import told

        return told(examine())
    from upkeep.line import run

    return run(asked)


def checked() -> int:
    """`python -m bootstrap --check`: the doctor, by the name that the composition has."""
    if sys.argv[1:] != ["--check"]:
        sys.stderr.write("python -m bootstrap --check   is all that this module does by itself\n")
        return 2
    return main(["doctor"])


if __name__ == "__main__":
    sys.exit(main())
