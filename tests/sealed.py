"""The image's file system without a container engine: its very files, its environment, its user, all else read-only.

The rule: what the image would not have is not there. A mount name space of its own holds the files `.dockerignore`
lets in at /app, the packages at /opt/venv, /data, /models, /backups and a /tmp that runs nothing; no capability stays.
It needs root and Linux; the image itself is tried in CI (docker/smoke).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.image_files import image_files

USER = 10001
DROPPED = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
_BUILD = r"""
set -eu
new=$1 app=$2 data=$3 models=$4 backups=$5 venv=$6 python=$7
shift 7
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$new"
cd "$new"
mkdir -p app data models backups tmp opt/venv proc dev etc usr
for name in bin sbin lib lib32 lib64; do [ ! -L "/$name" ] || cp -P "/$name" .; done
for name in usr etc; do mount --bind "/$name" "$name"; mount -o remount,bind,ro "$name"; done
for name in proc dev; do mount --rbind "/$name" "$name"; done
case "$python" in
    /usr | /usr/*) ;;
    *) mkdir -p ".$python"; mount --bind "$python" ".$python"; mount -o remount,bind,ro ".$python" ;;
esac
mount --bind "$venv" opt/venv; mount -o remount,bind,ro opt/venv
mount --bind "$app" app; mount -o remount,bind,ro app
mount --bind "$data" data
mount --bind "$models" models
mount --bind "$backups" backups
mount -t tmpfs -o nosuid,nodev,noexec,size=1g,mode=1777 none tmp
mount -o remount,bind,ro .
exec chroot . "$@"
"""


def possible() -> bool:
    """Whether this machine lets us."""
    tools = all(shutil.which(name) for name in ("unshare", "setpriv", "nsenter", "chroot"))
    return tools and os.geteuid() == 0 and not subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode


def environment(text: str) -> dict[str, str]:
    """What the last stage of a Dockerfile sets, with what its base stage set."""
    stages = re.split(r"(?m)^FROM ", text)
    found: dict[str, str] = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    for stage in (stages[1], stages[-1]):
        for block in re.findall(r"(?m)^ENV ((?:.*\\\n)*.*)$", stage):
            for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|(\S*))', block.replace("\\\n", " ")):
                found[name] = (quoted or plain).replace("$PATH", found["PATH"])
    return found


class Sealed:
    """The image over one data folder; each `start` is a container of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self._started: list[subprocess.Popen[bytes]] = []
        for name in ("root", "data", "models", "backups", "app"):
            (folder / name).mkdir(parents=True)
        for path in image_files():
            (folder / "app" / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / "app" / path)
        for name in ("data", "models", "backups"):
            (folder / name).chmod(0o700)
            os.chown(folder / name, USER, USER)

    def start(self, *command: str, told: Path, typed: str = "", **more: str) -> subprocess.Popen[bytes]:
        """A program of the image; what it prints goes to `told`."""
        places = [self.folder / name for name in ("root", "app", "data", "models", "backups")]
        build = ["unshare", "--mount", "sh", "-c", _BUILD, "sealed", *map(str, places), sys.prefix, sys.base_prefix]
        with told.open("wb") as log:
            process = subprocess.Popen(
                [*build, *self._inside(more), *command], stdin=subprocess.PIPE, stdout=log, stderr=log, cwd="/"
            )
        self._started.append(process)
        assert process.stdin is not None
        process.stdin.write(typed.encode())
        process.stdin.close()
        return process

    def within(self, process: subprocess.Popen[bytes], *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`docker exec`: the same place, another process."""
        enter = ["nsenter", "--target", str(process.pid), "--mount", "--root", "--wd"]
        return subprocess.run([*enter, *self._inside(more), *command], capture_output=True, text=True, timeout=300)

    def close(self) -> None:
        """No container is left."""
        for process in self._started:
            process.kill()
            process.wait()

    def _inside(self, more: dict[str, str]) -> list[str]:
        known = environment((ROOT / "Dockerfile").read_text(encoding="utf-8")) | more
        return [*DROPPED, "env", "-i", "-C", "/app", *(f"{name}={value}" for name, value in known.items())]
