"""A loopback server that lists models as OpenAI's does."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@contextmanager
def listing(models, status=200):
    """Run the server; return its URL and the list of paths that are requested.

    Args:
        models: Dates, or whatever stands in their place, by model ID.
        status: Status of every answer; with another than 200, there are no models in it.
    """
    shown = {
        name: {"id": name, "object": "model", "created": 1, "shutdown_date": day}
        for name, day in models.items()
    }
    paths = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            path = unquote(self.path.removeprefix("/v1"))
            paths.append(path)
            code, body = self._answer(path)
            content = json.dumps(body).encode()
            self.send_response(code)
            for key, value in {
                "content-type": "application/json",
                "content-length": str(len(content)),
                "retry-after-ms": "1",
            }.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def _answer(self, path):
            if status != 200:
                return status, {"error": {"message": "refused", "type": "x", "code": "x"}}
            if path == "/models":
                return 200, {"object": "list", "data": list(shown.values())}
            if path.startswith("/fine_tuning/jobs"):
                return 200, {"object": "list", "data": [], "has_more": False}
            if (found := shown.get(path.removeprefix("/models/"))) is not None:
                return 200, found
            message = f"The model {path!r} does not exist"
            return 404, {"error": {"message": message, "type": "x", "code": "model_not_found"}}

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", paths
        finally:
            server.shutdown()
            thread.join(10)
