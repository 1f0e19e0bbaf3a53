"""A stand-in for GitHub on loopback: git over HTTP, and the few REST endpoints that the actions call.

Every call needs a token, and every token has the permissions of its job: a job that asks for too little is
refused here too. What GitHub's own documentation says of these endpoints is all that is imitated.
"""

import base64
import io
import json
import re
import shutil
import subprocess
import threading
import urllib.parse
import zipfile
from datetime import UTC, datetime, timedelta
from email.parser import BytesHeaderParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.workflows.repositories import ENVIRONMENT, git

BOT = "github-actions[bot]"
LONG_AGO = timedelta(hours=1)


class Hub:
    """Repositories with their pull requests, issues, runs and tokens."""

    def __init__(self, folder):
        self.folder = folder
        self.bot = BOT
        """Who writes with a job's token."""
        self.tokens = {}
        """Permissions by token, the repository as `repository`, `bypass` for a protected branch."""
        self.repositories = {}
        self.calls = []
        """Every REST call: method, path, status."""
        self.dispatched = []
        """Workflows that a job started: repository, file, ref, inputs."""
        self.stored = {}
        """Archives of artifacts, by number."""
        self._lock = threading.RLock()
        self._numbers = iter(range(1, 100_000))
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    def number(self):
        with self._lock:
            return next(self._numbers)

    def add_repository(self, name, branch="main"):
        """Make an empty repository; return its record."""
        path = self.folder / f"{name}.git"
        path.parent.mkdir(parents=True, exist_ok=True)
        git(self.folder, "init", "--quiet", "--bare", f"--initial-branch={branch}", str(path))
        git(path, "config", "http.receivepack", "true")
        git(path, "config", "uploadpack.allowAnySHA1InWant", "true")
        hook = path / "hooks/pre-receive"
        hook.write_text(_HOOK)
        hook.chmod(0o755)
        self.repositories[name] = record = {
            "name": name,
            "path": path,
            "default_branch": branch,
            "protected": set(),
            "pulls": {},
            "people": {},
            "issues": {},
            "comments": {},
            "runs": {},
            "artifacts": {},
            "statuses": {},
        }
        return record

    def token(self, repository, permissions, *, bypass=False):
        """Return a new token of a repository."""
        token = f"token-{self.number()}"
        self.tokens[token] = {**permissions, "repository": repository, "bypass": bypass}
        return token

    def add_run(self, repository, event, **facts):
        """Record a workflow run; return its number. It began an hour ago: no pause is left to wait."""
        number = self.number()
        began = (datetime.now(UTC) - LONG_AGO).isoformat(timespec="seconds")
        self.repositories[repository]["runs"][number] = {
            "id": number,
            "event": event,
            "run_started_at": began,
            "html_url": f"{self.url}/{repository}/actions/runs/{number}",
            **facts,
        }
        return number

    def allowed(self, token, repository, permission):
        """Return whether a token may do something: `contents:write`."""
        kind, _, level = permission.partition(":")
        given = {"metadata": "read", **self.tokens.get(token, {})}
        ranks = {None: 0, "read": 1, "write": 2}
        return (
            given.get("repository") == repository
            and ranks[given.get(kind)] >= ranks[level or "read"]
        )

    def _handler(self):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

        def serve(http):
            self._serve(http)

        for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
            setattr(Handler, f"do_{method}", serve)
        return Handler

    def _serve(self, http):
        length = int(http.headers.get("Content-Length") or 0)
        body = http.rfile.read(length)
        parts = urllib.parse.urlsplit(http.path)
        if parts.path.startswith("/repos/"):
            with self._lock:
                status, answer, headers = self._rest(http, parts, body)
            self.calls.append((http.command, parts.path, status))
        elif parts.path.startswith("/storage/"):  # where artifacts lie: no token is to come here
            assert http.headers.get("Authorization") is None, "a token left GitHub"
            number = int(parts.path.rpartition("/")[2])
            status, answer, headers = 200, self.stored[number], {}
        else:
            status, answer, headers = self._git(http, parts, body)
        http.send_response(status)
        for name, value in headers.items():
            http.send_header(name, value)
        http.send_header("Content-Length", str(len(answer)))
        http.end_headers()
        http.wfile.write(answer)

    # ---- git

    def _git(self, http, parts, body):
        match = re.fullmatch(r"/([\w.-]+/[\w.-]+?)(?:\.git)?/(info/refs|git-\w+-pack)", parts.path)
        if match is None or match[1] not in self.repositories:
            return 404, b"", {}
        repository, service = match[1], match[2]
        writes = "receive-pack" in f"{service}{parts.query}"
        scheme, _, given = (http.headers.get("Authorization") or "").partition(" ")
        token = base64.b64decode(given).decode().partition(":")[2] if scheme == "basic" else ""
        if not self.allowed(token, repository, f"contents:{'write' if writes else 'read'}"):
            return 401, b"", {"WWW-Authenticate": "Basic"}
        protected = self.repositories[repository]["protected"]
        if self.tokens[token]["bypass"]:
            protected = set()
        environment = {
            **ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{repository}.git/{service}",
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": http.command,
            "CONTENT_TYPE": http.headers.get("Content-Type") or "",
            "HTTP_CONTENT_ENCODING": http.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": http.headers.get("Git-Protocol") or "",
            "REMOTE_USER": "job",
            "PROTECTED": " ".join(protected),
            "CONTENT_LENGTH": str(len(body)),
        }
        backend = shutil.which("git") or "git"
        done = subprocess.run(
            [backend, "http-backend"],
            input=body,
            env=environment,
            capture_output=True,
            check=False,
            timeout=60,
        )
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = dict(BytesHeaderParser().parsebytes(head + b"\r\n\r\n").items())
        status = int(headers.pop("Status", "200").split()[0])
        return status, answer, headers

    # ---- REST

    def _rest(self, http, parts, body):
        _, _, owner, name, *rest = parts.path.split("/")
        repository, path = f"{owner}/{name}", "/".join(rest)
        query = dict(urllib.parse.parse_qsl(parts.query))
        token = (http.headers.get("Authorization") or "").removeprefix("Bearer ")
        for method, pattern, permission, answer in ROUTES:
            match = re.fullmatch(pattern, path)
            if method != http.command or match is None:
                continue
            if token not in self.tokens:
                return _json(401, {"message": "Bad credentials"})
            needed = permission
            issues = self.repositories[repository]["issues"]
            # An issue and a pull request share this address, and not the permission.
            if path.endswith("/comments") and int(match[1]) in issues:
                needed = permission.replace("pull-requests", "issues")
            if not self.allowed(token, repository, needed):
                message = "Resource not accessible by integration"
                return _json(403, {"message": message, "needs": needed})
            given = json.loads(body) if body else {}
            parameters = [urllib.parse.unquote(one) for one in match.groups()]
            return answer(self, self.repositories[repository], parameters, query, given)
        return _json(404, {"message": f"Not Found: {http.command} {path}"})

    def contents_route(self, repository, parameters, query, _):
        name = f"{query['ref']}:{parameters[0]}"
        done = subprocess.run(
            ["git", "-C", str(repository["path"]), "cat-file", "blob", name],
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            return _json(404, {"message": "Not Found"})
        return 200, done.stdout, {"Content-Type": "application/octet-stream"}

    def pulls_route(self, repository, _, query, __):
        if query["state"] == "closed":
            closed = [one for one in repository["pulls"].values() if one["state"] == "closed"]
            found = [one for one in closed if one["base"]["ref"] == query["base"]]
            return _json(200, sorted(found, key=lambda one: one["updated_at"], reverse=True))
        owner, _, branch = query["head"].partition(":")
        found = [
            one
            for one in repository["pulls"].values()
            if one["state"] == "open"
            and one["head"]["ref"] == branch
            and one["head"]["owner"] == owner
        ]
        return _json(200, found)

    def pull_route(self, repository, parameters, *_):
        pull = repository["pulls"].get(int(parameters[0]))
        return _json(404, {}) if pull is None else _json(200, pull)

    def remove_label_route(self, repository, parameters, *_):
        pull = repository["pulls"][int(parameters[0])]
        if parameters[1] not in {one["name"] for one in pull["labels"]}:
            return _json(404, {"message": "Label does not exist"})
        pull["labels"] = [one for one in pull["labels"] if one["name"] != parameters[1]]
        return _json(200, pull["labels"])

    def ref_route(self, repository, parameters, *_):
        done = subprocess.run(
            [
                "git",
                "-C",
                str(repository["path"]),
                "rev-parse",
                "--verify",
                f"refs/{parameters[0]}",
            ],
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            return _json(404, {"message": "Not Found"})
        return _json(200, {"object": {"sha": done.stdout.decode().strip()}})

    def events_route(self, repository, parameters, *_):
        return _json(200, repository["pulls"][int(parameters[0])].get("events", []))

    def permission_route(self, repository, parameters, *_):
        permission = repository["people"].get(parameters[0])
        return _json(404, {}) if permission is None else _json(200, {"permission": permission})

    def runs_route(self, repository, _, query, __):
        wanted = query["event"], query["head_sha"]
        runs = repository["runs"].values()
        found = [one for one in runs if (one["event"], one.get("head_sha")) == wanted]
        return _json(200, {"total_count": len(found), "workflow_runs": found})

    def named_artifacts_route(self, repository, _, query, __):
        artifacts = repository["artifacts"].items()
        found = [_artifact(*one) for one in artifacts if one[1]["name"] == query["name"]]
        return _json(200, {"total_count": len(found), "artifacts": found})

    def pull_files_route(self, repository, parameters, *_):
        return _json(200, repository["pulls"][int(parameters[0])]["files"])

    def comments_route(self, repository, parameters, *_):
        number = int(parameters[0])
        return _json(200, [one for one in repository["comments"].values() if one["on"] == number])

    def comment_route(self, repository, parameters, _, given):
        number = self.number()
        comment = {"id": number, "on": int(parameters[0]), "user": {"login": self.bot}, **given}
        repository["comments"][number] = comment
        return _json(201, comment)

    def edit_comment_route(self, repository, parameters, _, given):
        repository["comments"][int(parameters[0])] |= given
        return _json(200, repository["comments"][int(parameters[0])])

    def issues_route(self, repository, _, query, __):
        found = [
            one
            for one in repository["issues"].values()
            if one["state"] == query["state"] and query["labels"] in one["labels"]
        ]
        return _json(200, found)

    def issue_route(self, repository, _, __, given):
        number = self.number()
        issue = {"number": number, "state": "open", "user": {"login": BOT}, **given}
        repository["issues"][number] = issue
        return _json(201, issue)

    def edit_issue_route(self, repository, parameters, _, given):
        repository["issues"][int(parameters[0])] |= given
        return _json(200, repository["issues"][int(parameters[0])])

    def run_route(self, repository, parameters, *_):
        run = repository["runs"].get(int(parameters[0]))
        return _json(404, {}) if run is None else _json(200, run)

    def artifacts_route(self, repository, parameters, *_):
        found = [
            _artifact(number, one)
            for number, one in repository["artifacts"].items()
            if one["run"] == int(parameters[0])
        ]
        return _json(200, {"total_count": len(found), "artifacts": found})

    def artifact_route(self, _, parameters, *__):
        return 302, b"", {"Location": f"{self.url}/storage/{parameters[0]}"}

    def dispatch_route(self, repository, parameters, _, given):
        entry = (repository["name"], parameters[0], given["ref"], given.get("inputs", {}))
        self.dispatched.append(entry)
        return 204, b"", {}

    def status_route(self, repository, parameters, _, given):
        repository["statuses"].setdefault(parameters[0], []).append(given)
        return _json(201, given)


def _artifact(number, one):
    """Return an artifact as the API lists it."""
    return {
        "id": number,
        "name": one["name"],
        "expired": False,
        "created_at": one.get("created_at", "2026-01-01T00:00:00Z"),
        "workflow_run": {"id": one["run"]},
    }


def zipped(files):
    """Return a ZIP archive of files."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return raw.getvalue()


def _json(status, value):
    return status, json.dumps(value).encode(), {"Content-Type": "application/json"}


_HOOK = """#!/bin/sh
while read -r _ _ ref; do
    for branch in $PROTECTED; do
        if [ "$ref" = "refs/heads/$branch" ]; then
            echo "error: GH006: Protected branch update failed for $ref." >&2
            exit 1
        fi
    done
done
"""
N = r"(\d+)"
ROUTES = (
    ("GET", r"contents/(.+)", "contents", Hub.contents_route),
    ("GET", r"pulls", "pull-requests", Hub.pulls_route),
    ("GET", rf"pulls/{N}", "pull-requests", Hub.pull_route),
    ("DELETE", rf"issues/{N}/labels/([\w%.-]+)", "pull-requests:write", Hub.remove_label_route),
    ("GET", r"git/ref/(.+)", "contents", Hub.ref_route),
    ("GET", rf"issues/{N}/events", "pull-requests", Hub.events_route),
    ("GET", r"collaborators/([\w%.-]+)/permission", "metadata", Hub.permission_route),
    ("GET", r"actions/runs", "actions", Hub.runs_route),
    ("GET", r"actions/artifacts", "actions", Hub.named_artifacts_route),
    ("GET", rf"pulls/{N}/files", "pull-requests", Hub.pull_files_route),
    ("GET", rf"issues/{N}/comments", "pull-requests", Hub.comments_route),
    ("POST", rf"issues/{N}/comments", "pull-requests:write", Hub.comment_route),
    ("PATCH", rf"issues/comments/{N}", "pull-requests:write", Hub.edit_comment_route),
    ("GET", r"issues", "issues", Hub.issues_route),
    ("POST", r"issues", "issues:write", Hub.issue_route),
    ("PATCH", rf"issues/{N}", "issues:write", Hub.edit_issue_route),
    ("GET", rf"actions/runs/{N}", "actions", Hub.run_route),
    ("GET", rf"actions/runs/{N}/artifacts", "actions", Hub.artifacts_route),
    ("GET", rf"actions/artifacts/{N}/zip", "actions", Hub.artifact_route),
    ("POST", r"actions/workflows/([\w.-]+)/dispatches", "actions:write", Hub.dispatch_route),
    ("POST", r"statuses/([0-9a-f]{40})", "statuses:write", Hub.status_route),
)
