"""A script that becomes a server: gives up root, ties its life to its starter's, then executes it.

    python -I -S launch.py STARTER_PID DEATH_SIGNAL HOME COMMAND…

HOME is empty for a server that may be root, else the directory the server owns: then the command runs
as an ordinary user (PostgreSQL refuses root). Standard library only, one thread, no package around it.

Why not `preexec_fn`: it runs Python between fork and exec of a process that may have threads. Why not
setpriv(1) and unshare(1): they are not everywhere, and this does what both do together.

Ways to be an ordinary user, first that works:

1. not root, and known to the system: nothing to do;
2. a user namespace that shows this user as `nobody`: nothing changes hands on disk. It also serves ids
   without an entry in the password file, which initdb refuses;
3. root only: become `nobody`, who is given HOME, and keep the one capability to reach it (and the
   binaries) through directories that only root may enter. Default containers refuse 2 and allow this.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

_NOBODY = 65534

# <linux/prctl.h>, <linux/sched.h>, <linux/capability.h>
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CLONE_NEWUSER = 0x10000000
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: list[str]) -> None:
    """Become the command; does not return unless it raises."""
    starter, death_signal, home, *command = arguments
    if home:
        give_up_root(Path(home))
    if sys.platform == "linux":
        # Last, because every change of identity clears it.
        _call("prctl", _PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != int(starter):
        sys.exit("the starter ended before the server began")
    # Python ignores SIGPIPE, and what is ignored or blocked stays so through exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execv(command[0], command)  # noqa: S606 - there is no shell and no untrusted word


def give_up_root(home: Path) -> None:
    """Be an ordinary user who owns `home`, by the first way that works."""
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 and _is_known(uid):
        return
    if sys.platform == "linux" and _namespaces_work():
        if uid == 0:
            _give(home, 0, 0)  # it may have been given away where namespaces were refused
        _enter_namespace(uid, gid)
    elif uid == 0:
        nobody = _nobody()
        _give(home, *nobody)
        _become(*nobody)
    else:
        sys.exit(f"user {uid} has no entry in the password file, and user namespaces are not allowed here")


def _is_known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _nobody() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return _NOBODY, _NOBODY
    return entry.pw_uid, entry.pw_gid


def _namespaces_work() -> bool:
    """Whether a user namespace can be entered here; tried in a child, since there is no way back."""
    child = os.fork()
    if child == 0:
        try:
            _enter_namespace(os.geteuid(), os.getegid())
        except BaseException:  # noqa: BLE001 - a forked child must not go on as a second parent
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _enter_namespace(uid: int, gid: int) -> None:
    """Show this user as nobody, to this process and its children only (user_namespaces(7))."""
    _call("unshare", _CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{_NOBODY} {gid} 1", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{_NOBODY} {uid} 1", encoding="ascii")


def _give(home: Path, uid: int, gid: int) -> None:
    """Make everything below `home` belong to that user, unless it does already."""
    if home.stat().st_uid == uid:
        return
    for folder, _, files in os.walk(home, topdown=False):
        for name in files:
            os.chown(Path(folder, name), uid, gid, follow_symlinks=False)
        # Folders after what they hold, and `home` last: an interrupted pass is begun again.
        os.chown(folder, uid, gid, follow_symlinks=False)


def _become(uid: int, gid: int) -> None:
    """Be another user for good, keeping the right to pass closed directories where there is one."""
    if sys.platform == "linux":
        _call("prctl", _PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if sys.platform == "linux":
        try:
            _keep_dac_override()
        except OSError as error:
            print(f"cannot keep CAP_DAC_OVERRIDE: {error}", file=sys.stderr)  # noqa: T201 - the server's log


def _keep_dac_override() -> None:
    """Reduce the capabilities to one, and let it pass exec (capabilities(7), ambient set)."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bit = 1 << _CAP_DAC_OVERRIDE
    # effective, permitted, inheritable: of the low 32 capabilities, then of the high ones
    data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    _call("capset", ctypes.byref(header), ctypes.byref(data))
    _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


def _call(name: str, *arguments: object) -> None:
    """Call libc; raises OSError with its errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    # prctl is variadic and reads unsigned long; a bare int would leave the upper half undefined.
    typed = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    if getattr(libc, name)(*typed) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


if __name__ == "__main__":
    main(sys.argv[1:])
