"""A loopback server of chat completions that counts, delays, refuses and limits the rate."""

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer:
    """Answers every prompt with a text made of model and prompt; `url` is the base URL."""

    def __init__(
        self, *, delay_s: float = 0.0, per_s: float | None = None, burst: int = 1, answer=None
    ):
        """Start the server.

        Args:
            delay_s: Seconds that each answer takes.
            per_s: Requests per second that it accepts; others get 429 and the time to wait.
            burst: Requests that it accepts at once after a rest.
            answer: Returns the text for a model and a prompt.
        """
        self.delay_s = delay_s
        self.answer = answer or "{}|{}".format
        self.asked = Counter()
        """Accepted requests, by model and prompt."""
        self.limited = 0
        """Requests that were answered with 429."""
        self.dropped = 0
        """Answers that nobody waited for any more."""
        self.filtered = set()
        """Prompts that the content filter refuses."""
        self.credit = None
        """Answers that are paid for; None for any number."""
        self._per_s, self._burst = per_s, burst
        self._tokens, self._at_s = float(burst), time.monotonic()
        self._lock = threading.Lock()
        server = type("Server", (ThreadingHTTPServer,), {"request_queue_size": 256})
        self._http = server(("127.0.0.1", 0), handler_of(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)

    @property
    def count(self):
        """Number of accepted requests."""
        return self.asked.total()

    def serve(self, http):
        body = json.loads(http.rfile.read(int(http.headers["content-length"])))
        model, text = body["model"], body["messages"][-1]["content"]
        wait_s = self._wait_s()
        if wait_s > 0:
            with self._lock:
                self.limited += 1
            error = {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}
            return self._send(http, 429, error, {"retry-after-ms": str(int(wait_s * 1000) + 1)})
        with self._lock:
            if self.credit == self.asked.total():
                error = {"error": {"message": "no credit left", "code": "insufficient_quota"}}
                return self._send(http, 403, error)
            self.asked[model, text] += 1
        if text in self.filtered:
            error = {"error": {"message": "The prompt was filtered.", "code": "content_filter"}}
            return self._send(http, 400, error)
        time.sleep(self.delay_s)
        message = {"role": "assistant", "content": self.answer(model, text)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": len(text), "completion_tokens": 3}
        return self._send(http, 200, {"choices": [choice], "usage": usage})

    def _wait_s(self):
        """Return the seconds to wait until a request is accepted; 0 if this one is."""
        if self._per_s is None:
            return 0.0
        with self._lock:
            now_s = time.monotonic()
            gained = (now_s - self._at_s) * self._per_s
            self._tokens, self._at_s = min(self._burst, self._tokens + gained), now_s
            if self._tokens >= 1:
                self._tokens -= 1
                return 0.0
            return (1 - self._tokens) / self._per_s

    def _send(self, http, status, body, headers=None):
        raw = json.dumps(body).encode()
        try:
            http.send_response_only(status)
            for name, value in {"content-type": "application/json", **(headers or {})}.items():
                http.send_header(name, value)
            http.send_header("content-length", str(len(raw)))
            http.end_headers()
            http.wfile.write(raw)
            http.wfile.flush()
        except OSError:
            self.dropped += 1
            http.close_connection = True


def handler_of(chats):
    """Return the class that hands each request of a server to `serve`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def do_POST(self):
            chats.serve(self)

    return Handler
