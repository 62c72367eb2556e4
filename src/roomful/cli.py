"""The `roomful` command."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.parse import quote

import typer

from roomful import absent, auth
from roomful.config import DEV_KEY, DEV_SECRET, Config, ConfigError, check_keys, load, parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from roomful.server.embedded import Server

app = typer.Typer(
    help="Realtime rooms for audio, video and data, for the clients of LiveKit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
rooms = typer.Typer(help="Look at and end the rooms of a running server.", no_args_is_help=True)
app.add_typer(rooms, name="room")


#: `--rtc.udp_port 7882`: one option for each key of the configuration, read by `_flags`.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

#: Seconds: nobody waits for calls to end on a machine for development.
DEV_DRAIN_TIMEOUT = 5.0

DrainOption = Annotated[
    str, typer.Option(help="How long calls may go on after SIGTERM, as in 30s or 2h; 0 ends them at once.")
]
UrlOption = Annotated[
    str, typer.Option("--url", envvar="LIVEKIT_URL", help="The server, as clients connect to it.")
]
KeyOption = Annotated[str, typer.Option("--api-key", envvar="LIVEKIT_API_KEY", help="API key.")]
SecretOption = Annotated[
    str, typer.Option("--api-secret", envvar="LIVEKIT_API_SECRET", help="The key's secret.")
]


@app.command(context_settings=_PASS_ON)
def dev(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="Port for HTTP and WebSocket.")] = 7880,
    bind: Annotated[
        list[str] | None,
        typer.Option(help="Address to listen on; again for more. Default: this machine only."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A livekit.yaml to begin with.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warn or error.")] = "info",
    drain_timeout: DrainOption = "",
) -> None:
    """Start a server for development, with a key that everybody knows.

    Any key of livekit.yaml may follow as an option, as in --rtc.udp_port 7900.
    """
    flags = {"development": "true", "port": str(port), "logging.level": log_level, **_flags(context.args)}
    if drain_timeout:
        flags["drain_timeout"] = drain_timeout
    settings = _load(config, flags, ignore_unsupported=True)
    if not settings.keys:
        settings.keys = {DEV_KEY: DEV_SECRET}
    if bind:
        settings.bind_addresses = bind
    settings.bind_addresses = settings.bind_addresses or ["127.0.0.1", "::1"]
    _serve(settings, _greet_developer)


@app.command(context_settings=_PASS_ON)
def serve(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="The configuration, a livekit.yaml.", envvar="LIVEKIT_CONFIG_FILE")
    ] = None,
    config_body: Annotated[
        str, typer.Option(help="The configuration itself, as YAML.", envvar="LIVEKIT_CONFIG")
    ] = "",
    keys: Annotated[
        str, typer.Option(help="API keys and secrets, 'key: secret', one a line.", envvar="LIVEKIT_KEYS")
    ] = "",
    key_file: Annotated[str, typer.Option(help="A file of keys, closed to others (chmod o=).")] = "",
    node_ip: Annotated[
        str, typer.Option(help="This node's address, told to clients.", envvar="NODE_IP")
    ] = "",
    udp_port: Annotated[str, typer.Option(help="UDP port or range for media.", envvar="UDP_PORT")] = "",
    bind: Annotated[list[str] | None, typer.Option(help="Address to listen on; again for more.")] = None,
    ignore_unsupported: Annotated[
        bool,
        typer.Option("--ignore-unsupported", help="Warn of keys without effect yet; else they are refused."),
    ] = False,
    drain_timeout: DrainOption = "",
) -> None:
    """Start a server with your livekit.yaml.

    Any key of it may also be an option, as in --room.max_participants 10,
    or a variable, as in LIVEKIT_ROOM_MAX_PARTICIPANTS=10.

    At SIGTERM nobody new is taken and calls go on until they end or --drain-timeout is over; a second SIGTERM
    ends them at once.
    """
    named = {
        "keys": keys,
        "key_file": key_file,
        "rtc.node_ip": node_ip,
        "rtc.udp_port": udp_port,
        "drain_timeout": drain_timeout,
    }
    flags = {name: value for name, value in named.items() if value} | _flags(context.args)
    settings = _load(config, flags, body=config_body, ignore_unsupported=ignore_unsupported)
    if bind:
        settings.bind_addresses = bind
    _serve(settings, _greet_operator)


@app.command()
def token(
    room: Annotated[str, typer.Option(help="Room to join.")],
    identity: Annotated[str, typer.Option(help="Who it is for; unique in the room.")],
    api_key: KeyOption = DEV_KEY,
    api_secret: SecretOption = DEV_SECRET,
    name: Annotated[str, typer.Option(help="Name shown to others.")] = "",
    metadata: Annotated[str, typer.Option(help="Metadata of the participant.")] = "",
    valid_for: Annotated[str, typer.Option(help="As in 30m or 6h.")] = "6h",
    admin: Annotated[bool, typer.Option(help="May also manage that room through the API.")] = False,
    hidden: Annotated[bool, typer.Option(help="Others do not see this participant.")] = False,
    no_publish: Annotated[bool, typer.Option(help="May only listen and watch.")] = False,
) -> None:
    """Print an access token for one participant.

    Without a key it is one for `roomful dev`.
    """
    try:
        ttl = timedelta(seconds=parse_duration(valid_for))
    except ValueError as error:
        _fail(f"--valid-for: {error}")
    builder = auth.AccessToken(api_key, api_secret, ttl=ttl).with_identity(identity).with_name(name)
    builder.with_metadata(metadata).with_room(room)
    builder.with_grants(room_admin=admin, hidden=hidden)
    if no_publish:
        builder.with_grants(can_publish=False)
    try:
        # To be piped: nothing but the token on standard output.
        print(builder.to_jwt())
    except ValueError as error:
        _fail(str(error))


@app.command("generate-keys")
def generate_keys() -> None:
    """Print a fresh API key with its secret, as they are written in livekit.yaml."""
    print(f"API{secrets.token_hex(6)}: {secrets.token_urlsafe(32)}")


@app.command()
def doctor(
    url: Annotated[
        str, typer.Argument(envvar="LIVEKIT_URL", help="The server, as clients connect to it.")
    ] = ("ws://localhost:7880"),
    api_key: KeyOption = DEV_KEY,
    api_secret: SecretOption = DEV_SECRET,
    token: Annotated[str, typer.Option(help="Join with this token instead of key and secret.")] = "",
    ca_file: Annotated[Path | None, typer.Option(help="Trust these certificates for TURN/TLS.")] = None,
) -> None:
    """Try the ways from this machine to a server's media, and say what mends those that fail.

    Works with livekit-server too. Ends with 1 unless every way that the server offers works.
    """
    import ssl

    from roomful.doctor import SignallingError, Way, examine

    room = f"doctor-{secrets.token_hex(4)}"

    def token_for(way: Way) -> str:
        builder = auth.AccessToken(api_key, api_secret, ttl=timedelta(minutes=5))
        return token or builder.with_identity(f"doctor {way.value}").with_room(room).to_jwt()

    try:
        trusted = ssl.create_default_context(cafile=ca_file)
        found = _run(examine(url, token_for, tls=trusted))
    except (SignallingError, ValueError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{ca_file}: {error.strerror or error}")
    console = _console()
    console.print(f"server     {_plain(found.server)} at {_plain(url)}, joined in {found.join_time:.0f} ms")
    console.print(
        f"media      UDP {_plain(', '.join(found.udp) or '-')} · TCP {_plain(', '.join(found.tcp) or '-')}"
    )
    console.print(f"ice        {_plain(', '.join(found.ice_servers) or '-')}")
    for finding in found.findings:
        label = f"{finding.way.value:10} "
        if finding.trouble is None:
            trip = "" if finding.round_trip is None else f", round trip {finding.round_trip:g} ms"
            console.print(f"{label}[green]works[/green]{trip} ({_plain(finding.target)})")
            continue
        target = f" ({_plain(finding.target)})" if finding.target else ""
        console.print(f"{label}[red]{finding.trouble.value}[/red]{target}: {_plain(finding.cause)}")
        console.print(f"{'':11}to mend: {_plain(finding.remedy(found.udp))}")
    raise typer.Exit(0 if found.healthy else 1)


@rooms.command("list")
def list_rooms(
    url: UrlOption = "ws://localhost:7880",
    api_key: KeyOption = DEV_KEY,
    api_secret: SecretOption = DEV_SECRET,
) -> None:
    """Show the rooms that exist now."""
    from livekit.protocol import room

    answer = _call(
        url, api_key, api_secret, "ListRooms", room.ListRoomsRequest(), room.ListRoomsResponse, room_list=True
    )
    if not answer.rooms:
        print("no rooms")
        return
    from rich.table import Table

    table = Table("name", "sid", "participants", "publishers", box=None, pad_edge=False)
    for one in answer.rooms:
        table.add_row(one.name, one.sid, str(one.num_participants), str(one.num_publishers))
    _console().print(table)


@rooms.command("delete")
def delete_room(
    name: Annotated[str, typer.Argument(help="Name of the room.")],
    url: UrlOption = "ws://localhost:7880",
    api_key: KeyOption = DEV_KEY,
    api_secret: SecretOption = DEV_SECRET,
) -> None:
    """End a room: everybody in it is disconnected."""
    from livekit.protocol import room

    request = room.DeleteRoomRequest(room=name)
    _call(url, api_key, api_secret, "DeleteRoom", request, room.DeleteRoomResponse, room_create=True)
    print(f"deleted {name}")


def _call(url: str, key: str, secret: str, method: str, request: Any, answer: Any, **grants: bool) -> Any:
    from roomful.twirp import ApiClient, ApiError

    bearer = auth.AccessToken(key, secret, ttl=timedelta(minutes=1)).with_grants(**grants).to_jwt()
    try:
        with ApiClient(url, bearer) as client:
            return client.call("RoomService", method, request, answer)
    except ApiError as error:
        _fail(str(error))


def _flags(arguments: Sequence[str]) -> dict[str, str]:
    """`--key value`, `--key=value`, and `--key` for a switch."""
    flags: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--"):
            _fail(f"unexpected argument: {argument}")
        name, equals, value = argument[2:].partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        flags[name] = value
    return flags


def _load(
    path: Path | None, flags: dict[str, str], *, body: str = "", ignore_unsupported: bool = False
) -> Config:
    from roomful.server import logs

    try:
        text = path.read_text() if path else body
    except OSError as error:
        _fail(f"{path}: {error.strerror}")
    try:
        config, unsupported = load(text, flags=flags, ignore_unsupported=ignore_unsupported)
    except ConfigError as error:
        _fail(str(error))
    level = config.logging.level or ("debug" if config.development else "info")
    logs.configure(level, as_json=config.logging.json_, components=config.logging.component_levels)
    for name in unsupported:
        logs.get_logger("roomful.config").warning(
            "no effect yet, ignored", key=name, reason=absent.reason(name)
        )
    return config


def _serve(config: Config, greet: Any) -> None:
    from roomful.server import descriptors

    # Each connection is one, and systems begin with 1024.
    descriptors.raise_limit()
    try:
        check_keys(config)
        _run(_serve_until_stopped(config, greet))
    except ConfigError as error:
        _fail(str(error))
    except OSError as error:
        _fail(_explain_os_error(error))


def _explain_os_error(error: OSError) -> str:
    from roomful.server.listener import AddressInUse

    if isinstance(error, AddressInUse):
        return (
            f"port {error.port} is in use, perhaps by another server. "
            "Stop that one, or choose another port with --port"
        )
    text = error.strerror or str(error)
    # The media plane names the key that the port comes from.
    if key := re.search(r"\((rtc\.\w+|turn\.\w+)\)", text):
        text += f". If the port is in use, choose another with --{key[1]}"
    return text


def _run(main: Any) -> Any:
    """On uvloop where it exists: this process is ours, so its loop may be."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)


async def _serve_until_stopped(config: Config, greet: Any) -> None:
    from roomful.server.embedded import Server

    signals: asyncio.Queue[int] = asyncio.Queue()
    stopping = False
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stopping:
            # Somebody does not want to wait even for goodbyes.
            os._exit(128 + number)
        signals.put_nowait(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if sys.platform == "win32":
            signal.signal(number, lambda number, _: loop.call_soon_threadsafe(on_signal, number))
        else:
            loop.add_signal_handler(number, on_signal, number)
    async with Server(config) as server:
        greet(server)
        if await signals.get() == signal.SIGTERM:
            _tell("draining: calls may end, nobody new is taken. Again to end them at once")
            within = config.drain_timeout
            if within is None and config.development:
                within = DEV_DRAIN_TIMEOUT
            await _drain(server, within, signals)
        stopping = True
        _tell("stopping")


async def _drain(server: Server, within: float | None, signals: asyncio.Queue[int]) -> None:
    """Until the last participant has left, the time is over, or another signal comes."""
    async with asyncio.TaskGroup() as tasks:
        draining = tasks.create_task(server.drain(within))
        hurry = tasks.create_task(signals.get())
        await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if hurry.done():
            await server.drain(0)
        hurry.cancel()


def _greet_developer(server: Server) -> None:
    from rich.table import Table

    from roomful.server.page import Page

    console = _console()
    key, secret = next(iter(server.keys.items()))
    url = server.url.replace("127.0.0.1", "localhost").replace("[::1]", "localhost")
    page = url.replace("ws", "http", 1) + f"/?room={quote('demo')}"
    command = "roomful token --room demo --identity ada"
    if (key, secret) != (DEV_KEY, DEV_SECRET):
        command += f" --api-key {key} --api-secret {secret}"
    console.print()
    console.print("[bold]roomful[/bold] is running, for development only")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_row("URL", url)
    table.add_row("API key", key)
    table.add_row("API secret", secret)
    table.add_row("token", command)
    if Page.find():
        table.add_row("browser", page)
        hint = "Open the browser link in two tabs to see a call. "
    else:
        hint = "The demo page was not built into this installation. "
    console.print(table)
    console.print(f"\n  {hint}Stop with Ctrl-C.\n")


def _greet_operator(server: Server) -> None:
    from roomful.server.logs import get_logger

    get_logger("roomful").info("listening", url=server.url, udp=server.media_ports)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def _fail(text: str) -> NoReturn:
    _console(stderr=True).print(f"[red]roomful:[/red] {_plain(text)}")
    raise typer.Exit(1)


def _plain(text: str) -> str:
    """Of somebody else: neither markup nor what steers a terminal."""
    from rich.markup import escape

    return escape("".join(it if it.isprintable() or it == "\n" else "\ufffd" for it in text))


def main() -> None:
    app()


if __name__ == "__main__":
    main()
