"""Run the commands of the tutorials and write what they print under them; the notebook is executed too.

    python docs/tutorials/run.py                # all of them, in the order of the pages
    python docs/tutorials/run.py chat-logs      # one

In a ```console block a line that begins with "$ " is a command (a backslash at its end goes on in the next line), and
what stands below it is what it printed, without progress. A ```yaml or ```python block whose first line is `# NAME` is
the file NAME. Each page has a new folder of its own, with the files of docs/tutorials/files in it.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
BLOCK = re.compile(r"^```(console|yaml|python)\n(.*?)^```$", re.M | re.S)
PROGRESS = re.compile(  # how far it is, how long it takes, and where what is done is kept meanwhile
    r"^.*\babout .* left\b.*$|^.*: \d+ of \d+$|^(calprune: the comparison|it will) takes? about .*$"
    r"|^the dense model on .*$|^note: done blocks are kept in .*$|^[a-z][^:]*: \d+ of \d+, .*/s.*$"
)
Run = Callable[[str, Path], str]  # a command and the folder it runs in -> what it prints


def commands(block: str) -> list[str]:
    """The commands of a ```console block, each as it is written, over several lines too."""
    return re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.M)


def shell(command: str, folder: Path) -> str:
    """What a command prints, notes and warnings too. Raises CalledProcessError where one of a pipe fails."""
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ended.returncode not in (0, 141):  # 141: `head` had read enough
        raise subprocess.CalledProcessError(ended.returncode, command, ended.stdout)
    return ended.stdout


def run(page: str, folder: Path, by: Run = shell) -> str:
    """The page with what its commands print now."""
    for path in (HERE / "files").iterdir():
        shutil.copy(path, folder)

    def again(block: re.Match[str]) -> str:
        kind, text = block.groups()
        if kind != "console":
            if named := re.match(r"# (\S+\.\w+)\n", text):
                (folder / named[1]).write_text(text, encoding="utf-8")
            return block[0]
        shown = []
        for command in commands(text):
            printed = by(command, folder).replace(str(Path.home()), "~").splitlines()
            shown += [f"$ {command}", *(line.rstrip() for line in printed if not PROGRESS.match(line)), ""]
        return "```console\n" + re.sub(r"\n{3,}", "\n\n", "\n".join(shown)).strip() + "\n```"

    return BLOCK.sub(again, page)


def main(names: list[str]) -> None:
    for path in [HERE.parents[1] / "README.md", *sorted(HERE.glob("*.md"))]:
        if "```console" in path.read_text(encoding="utf-8") and (not names or path.stem in names):
            with tempfile.TemporaryDirectory() as folder:
                path.write_text(run(path.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
            print(path.name, "ran")
    if not names or "in-python" in names:
        import notebook

        notebook.execute()


if __name__ == "__main__":
    main(sys.argv[1:])
