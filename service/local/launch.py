"""Starts another program that ends with its parent. Run as a script, so standard library only.

    launch.py PARENT SIGNAL USER COMMAND [ARGUMENT …]

PARENT is the process that starts this one; SIGNAL (a number) is what the kernel sends when that
process is gone, kill -9 included (Linux; elsewhere nothing is sent). USER is `uid:gid`, or `-`
for the same user.
"""

import ctypes
import os
import signal
import sys

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def change_user(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def end_with_parent(parent: int, number: int) -> None:
    """Have the kernel send the signal when the parent ends; exit if it has ended already."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_PARENT_DEATH_SIGNAL, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")


def main(parent: str, number: str, user: str, *command: str) -> None:
    if user != "-":
        uid, _, gid = user.partition(":")
        change_user(int(uid), int(gid))
    end_with_parent(int(parent), int(number))  # after the change of user, which would clear it
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec hands that on
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"{sys.argv[4]}: {error.strerror}")
