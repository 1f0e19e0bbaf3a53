"""A server on loopback whose requests a test answers itself."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.owner.serve(self)

    def do_POST(self):
        self.server.owner.serve(self)

    def do_PUT(self):
        self.server.owner.serve(self)


@contextmanager
def answering(make):
    """Run a server until the block ends; yield what answers.

    Args:
        make: Returns what answers, by its method `serve`, from the address of the server.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        http.daemon_threads = True
        http.owner = make(f"http://127.0.0.1:{http.server_address[1]}")
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield http.owner
        http.shutdown()
        thread.join(10)
