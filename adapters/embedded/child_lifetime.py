"""Becomes another program, with a session and an account of its own, tied to its parent's life.

Run as a script by `processes.spawn`, never imported. A script rather than `preexec_fn`, because
code between fork and exec can deadlock in a process that has threads.
"""

import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Apply the options in the first argument, which is JSON, then become the command after it."""
    options = json.loads(sys.argv[1])
    command = sys.argv[2:]
    libc = ctypes.CDLL(None)
    os.setsid()  # Ctrl-C on the terminal is for the parent, which then stops us in order.
    os.chdir(options["folder"])
    if options["account"] is not None:
        uid, gid = options["account"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if options["leash"] is not None:
        # After setuid: a change of account clears it.
        libc.prctl(PR_SET_PDEATHSIG, options["leash"], 0, 0, 0)
        if os.getppid() != options["parent"]:
            sys.exit("the parent died first")
    os.execv(command[0], command)  # noqa: S606 - no shell is the point.


main()
