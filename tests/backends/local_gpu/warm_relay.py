"""What stands in for Python where children shall start warm: see `warm_server.py`.

    python -I -S warm_relay.py SOCKET -P -m MODULE ...

Holds the files that it inherited, locks included, for as long as the child lives; hands SIGTERM on;
ends as the child ended.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

path, *arguments = sys.argv[1:]
request = {"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd())}
with socket.socket(socket.AF_UNIX) as server:
    server.connect(path)
    data = json.dumps(request).encode() + b"\n"
    sent = socket.send_fds(server, [data], [0, 1, 2])
    server.sendall(data[sent:])
    with server.makefile() as answers:
        child = int(answers.readline())
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
        status = int(answers.readline())
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
