"""Starts Python at once: one process has imported everything and forks for each program it is asked to run.

`forking.py PLACE serve` is that process, listening on the socket PLACE. `forking.py PLACE ...` is called as `python`
is: with a script, with `-m` and a module, or with `-c` and code. It is run there in its own environment and folder, and
ends as it ends; killing it kills what it started.
"""

import json
import os
import runpy
import select
import signal
import socket
import sys
import time


def ask(place, words):
    with socket.socket(socket.AF_UNIX) as line:
        connect(line, place)
        request = {"words": words, "cwd": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(line, [json.dumps(request).encode()], [1, 2])
        code = int(line.recv(16) or 70)
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


def connect(line, place):
    """Waits while the other process imports."""
    for _ in range(1200):
        try:
            return line.connect(place)
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.1)
    sys.exit(f"Nobody answers at {place}.")


def serve(place):
    import accelerate  # noqa: F401
    import fake_evaluation  # noqa: F401
    import torch
    import toys  # noqa: F401

    import bsoftmax.cli.main  # noqa: F401

    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, reap)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place)
        door.listen(100)
        while door in select.select([door, sys.stdin], [], [])[0]:  # until whoever began it has ended
            line, _ = door.accept()
            request, outputs, *_ = socket.recv_fds(line, 1 << 20, 2)
            if not os.fork():
                door.close()
                watch(line, json.loads(request), outputs)
            for handle in (line.detach(), *outputs):
                os.close(handle)


def reap(*_):
    """Waits for whoever has ended: their time counts as that of the tests."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def watch(line, request, outputs):
    """Forks the program, says how it ended, and ends it when nobody listens any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        line.close()
        act(request, outputs)
    for handle in outputs:
        os.close(handle)
    ended = os.pidfd_open(pid)
    if line in select.select([line, ended], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        line.send(str(code).encode())
    finally:
        os._exit(0)


def act(request, outputs):
    code = 1
    try:
        for n, handle in enumerate((os.open(os.devnull, os.O_RDONLY), *outputs)):
            os.dup2(handle, n)
            os.close(handle)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        run(request["words"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(words):
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(words[1], {"__name__": "__main__"})
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    place, *words = sys.argv[1:]
    serve(place) if words == ["serve"] else ask(place, words)
