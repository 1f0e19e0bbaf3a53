"""`ftctl serve`."""

import ipaddress
import logging
import os
import secrets
import signal
import socket

import click

from backends.atomic_files import locked
from backends.registry import LOCAL, open_backend
from controller.cli.common import project_of
from controller.errors import FtctlError, LockHeld
from controller.server.api.listener import HttpServer
from controller.server.api.quiet_log import quiet_handler
from controller.server.app import ServerContext, create_app, server_folder
from controller.spec.settings import FILE, endpoint_of, load_settings

TOKEN_VARIABLE = "FTCTL_SERVE_TOKEN"  # noqa: S105 - the name of a variable


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port; 0 takes a free one.")
@click.pass_context
def command(ctx: click.Context, host: str, port: int) -> None:
    """Serve fine-tuning and chat to OpenAI clients; trains on this machine.

    Clients need the token in FTCTL_SERVE_TOKEN; without that, one is made and printed. Base models
    are named in ftctl.yaml under serve.base_models.
    """
    project = project_of(ctx)
    settings = load_settings(project.root)
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token and not _is_loopback(host):
        message = f"{host} can be reached from other machines, and no token is set"
        remedy = f"Set one: export {TOKEN_VARIABLE}=$(openssl rand -hex 32)"
        raise FtctlError(message, remedy)
    with locked(server_folder(project) / "lock") as mine:
        if not mine:
            message = f"another server is at work in {server_folder(project)}"
            raise LockHeld(message, "Stop it, or use that one.")
        context = ServerContext(
            project=project,
            settings=settings,
            backend=open_backend(LOCAL, project.state, endpoint_of(settings, project.root, "")),
            token=token or secrets.token_urlsafe(32),
        )
        logging.basicConfig(level=logging.WARNING, handlers=[quiet_handler()])
        server = HttpServer(create_app(context), context.limits)
        with _listen(host, port) as listener:
            _greet(context, listener, made=not token)
            # uvicorn raises the signal again after it has ended; having ended well is enough.
            signal.signal(signal.SIGTERM, lambda *_: None)
            server.run(sockets=[listener])


def _greet(context: ServerContext, listener: socket.socket, *, made: bool) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"Serving {context.project.root} at http://{shown}:{port}/v1")
    bases = ", ".join(context.settings.serve.base_models)
    click.echo(f"Base models: {bases or f'none; name some in {FILE} under serve.base_models'}")
    if made:
        click.echo(f"Token, made for this run: {context.token}")
        click.echo(f"To keep one, set {TOKEN_VARIABLE}.")
    else:
        click.echo(f"Token: the one in {TOKEN_VARIABLE}.")
    click.echo("Ctrl-C ends the server; jobs go on training, and it finds them again.")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # From here on clients may connect; they wait until the server is ready.
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        message = f"cannot listen on {host}:{port}: {error}"
        raise FtctlError(message, "Choose another: --port 0 takes a free one.") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
