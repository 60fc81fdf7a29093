"""Starts stand-ins at once: one process has imported everything and forks for each of them.

`stand_in.py PLACE serve` is that process, listening on the socket PLACE; `stand_in.py PLACE ...` is called as
`python -m bsoftmax ...` is, has its words done there, and ends as they end. Killing it kills what it started.
"""

import json
import os
import select
import signal
import socket
import sys


def ask(place, words):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place)
        request = {"words": words, "cwd": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(line, [json.dumps(request).encode()], [1, 2])
        code = int(line.recv(16) or 70)
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


def serve(place):
    import fake_evaluation
    import torch
    import toys  # noqa: F401

    import bsoftmax.data.layouts  # noqa: F401

    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place)
        door.listen()
        print("ready", flush=True)
        while True:
            line, _ = door.accept()
            request, outputs, *_ = socket.recv_fds(line, 1 << 20, 2)
            if not os.fork():
                watch(line, json.loads(request), outputs, fake_evaluation.main)
            for handle in (line.detach(), *outputs):
                os.close(handle)


def watch(line, request, outputs, main):
    """Forks the stand-in, says how it ended, and ends it when nobody listens any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        line.close()
        act(request, outputs, main)
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


def act(request, outputs, main):
    code = 1
    try:
        for n, handle in enumerate(outputs, 1):
            os.dup2(handle, n)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        sys.argv = ["bsoftmax", *request["words"]]
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    place, *words = sys.argv[1:]
    serve(place) if words == ["serve"] else ask(place, words)
