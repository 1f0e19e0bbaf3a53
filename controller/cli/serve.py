"""`ftctl serve`."""

import ipaddress
import logging
import os
import secrets
import signal
import socket
import threading
from types import FrameType

import click

from backends.atomic_files import locked
from backends.registry import LOCAL, open_backend
from controller.cli.common import project_of
from controller.errors import FtctlError, LockHeld
from controller.lockfile.model import Lockfile
from controller.lockfile.store import read_lockfile
from controller.project.project import Project
from controller.run.backends import with_store
from controller.server.aliases import ServedAliases
from controller.server.api.listener import HttpServer
from controller.server.api.quiet_log import quiet_handler
from controller.server.app import create_app, server_folder
from controller.server.limits import Limits
from controller.spec.sections.hardware import Hardware
from controller.spec.sections.machines import machines_of
from controller.spec.settings import FILE, endpoint_of, load_settings, public_id

KEY_VARIABLE = "FTCTL_SERVE_TOKEN"


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port; 0 takes a free one.")
@click.pass_context
def command(ctx: click.Context, host: str, port: int) -> None:
    """Serve fine-tuning and chat to OpenAI clients; trains here, or on a machine of ftctl.yaml.

    Clients need the token in FTCTL_SERVE_TOKEN; if it is not set, the server makes a token and
    prints it. Name the base models in ftctl.yaml under serve.base_models, and a machine for the jobs
    under serve.hardware.
    """
    project = project_of(ctx)
    settings = load_settings(project.root)
    token = os.environ.get(KEY_VARIABLE, "").strip()
    if not token and not _is_loopback(host):
        message = f"{host} can be reached from other machines, and no token is set"
        remedy = f"Set a token: export {KEY_VARIABLE}=$(openssl rand -hex 32)"
        raise FtctlError(message, remedy)
    with locked(server_folder(project) / "lock") as mine:
        if not mine:
            message = f"another server already uses {server_folder(project)}"
            raise LockHeld(message, "Stop the other server, or use it.")
        local = open_backend(LOCAL, project.state, endpoint_of(settings, project.root, ""))
        local.use_machines(machines_of(settings.machines))
        backend = with_store(local, project, settings, LOCAL, fetches=True)
        bases, limits = settings.serve.base_models, Limits()
        key = token or secrets.token_urlsafe(32)
        logging.basicConfig(level=logging.WARNING, handlers=[quiet_handler()])
        lockfile = read_lockfile(project.root, project.records)
        server = HttpServer(create_app(project, backend, settings.serve, key, limits), limits)
        with _listen(host, port) as listener:
            interrupted = _end_on_signals(server)
            click.echo(f"Serving {project.root} at {_url(listener)}")
            shown = ", ".join(bases) or f"none; name some in {FILE} under serve.base_models"
            click.echo(f"Base models: {shown}")
            hardware = settings.serve.hardware
            if hardware.machine is not None:
                click.echo(f"Jobs train on: {hardware.machine}{_size(hardware)}")
            _show_aliases(project, lockfile, bases)
            if token:
                click.echo(f"Token: the value of {KEY_VARIABLE}.")
            else:
                click.echo(f"Token, made for this run: {key}")
                click.echo(f"To keep one, set {KEY_VARIABLE}.")
            click.echo("Ctrl-C ends the server. Jobs continue, and the next server follows them.")
            server.run(sockets=[listener])
            if interrupted.is_set():
                raise KeyboardInterrupt


def _size(hardware: Hardware) -> str:
    """Return what a job has there, where it differs from one GPU."""
    counts = ((hardware.gpus, "GPUs"), (hardware.nodes, "nodes"))
    words = [f"{count} {noun}" for count, noun in counts if count > 1]
    return "".join(f", {one}" for one in [*words, *filter(None, [hardware.memory])])


def _end_on_signals(server: HttpServer) -> threading.Event:
    """End the server on SIGTERM and Ctrl-C, also before it handles these signals itself.

    Returns:
        Set by Ctrl-C. The server raises a signal again after it has ended.
    """
    interrupted = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        server.should_exit = True
        if number == signal.SIGINT:
            interrupted.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return interrupted


def _show_aliases(project: Project, lockfile: Lockfile, base_models: list[str]) -> None:
    """Print the aliases that the server answers to, and those that it cannot."""
    table = ServedAliases(project).table(lockfile, {public_id(one) for one in base_models})
    for alias, finetune in table.finetunes.items():
        click.echo(f"Alias: {alias} -> {finetune}")
    for alias, clash in table.clashes.items():
        click.echo(f"Warning: the alias {alias} {clash.message}. {clash.remedy}", err=True)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # From here on clients may connect; they wait until the server is ready.
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        message = f"cannot listen on {host}:{port}: {error}"
        raise FtctlError(message, "Choose another port; `--port 0` takes a free one.") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
