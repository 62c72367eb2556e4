"""A control plane on a hand-moved clock, with a media plane that only records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from livekit.protocol import models, rtc

from roomful.auth import Claims, VideoGrant
from roomful.config import Config
from roomful.server.control import ControlPlane
from roomful.server.join import JoinParams
from roomful.server.media import Event
from roomful.server.session import Session

KEY, SECRET = "devkey", "secret"
WALL = 1_700_000_000.0


class RecordingMedia:
    """Every command, as (name, arguments)."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.workers = 1

    def worker_of(self, *, room: int) -> int:
        return room % self.workers

    def __getattr__(self, name: str) -> Callable[..., None]:
        def record(**arguments: Any) -> None:
            self.commands.append((name, arguments))

        return record

    def named(self, name: str) -> list[dict[str, Any]]:
        return [arguments for command, arguments in self.commands if command == name]


@dataclass
class Client:
    """What a client would have seen and may say."""

    world: World
    session: Session
    number: int
    seen: list[rtc.SignalResponse] = field(default_factory=list)
    _join: rtc.JoinResponse | None = None

    def read(self) -> list[rtc.SignalResponse]:
        """New frames."""
        fresh = [rtc.SignalResponse.FromString(frame) for frame in self.session.outbox.drain()]
        self.seen += fresh
        return fresh

    def got(self, kind: str) -> list[Any]:
        """The new messages of a kind; the other new ones are dropped."""
        return [getattr(it, kind) for it in self.read() if it.WhichOneof("message") == kind]

    def all(self, kind: str) -> list[Any]:
        self.read()
        return [getattr(it, kind) for it in self.seen if it.WhichOneof("message") == kind]

    @property
    def kinds(self) -> list[str]:
        self.read()
        return [str(it.WhichOneof("message")) for it in self.seen]

    @property
    def join(self) -> rtc.JoinResponse:
        if self._join is None:
            self._join = self.all("join")[0]
        assert self._join is not None
        return self._join

    @property
    def sid(self) -> str:
        return self.join.participant.sid

    @property
    def closed(self) -> bool:
        return self.session.outbox.closed

    def entries(self) -> list[models.ParticipantInfo]:
        """New update entries in order."""
        return [info for update in self.got("update") for info in update.participants]

    def send(self, **request: Any) -> None:
        self.session.receive(rtc.SignalRequest(**request))

    def connect(self) -> Client:
        """Its primary connection comes up."""
        target = "subscriber" if self.join.subscriber_primary else "publisher"
        self.world.events(Event.Connection(self.number, target, "connected", ""))
        return self

    def publish(self, cid: str = "mic", **wanted: Any) -> models.TrackInfo:
        """AddTrack, offer, and the media plane's word that the track is bound."""
        info = self.add(cid, **wanted)
        mime = info.codecs[0].mime_type.lower() or (
            "audio/opus" if info.type == models.TrackType.AUDIO else "video/vp8"
        )
        self.send(offer=rtc.SessionDescription(type="offer", sdp="v=0", id=7))
        self.world.events(
            Event.TrackBound(self.world.track(info.sid), "0", mime, [("", 2, 1)]),
            Event.Description(self.number, "publisher", "answer", "v=0", 7, {}),
        )
        return info

    def add(self, cid: str = "mic", **wanted: Any) -> models.TrackInfo:
        """AddTrack, answered by track_published."""
        self.send(add_track=add_track(cid, **wanted))
        published = self.all("track_published")[-1]
        assert published.cid == cid
        info: models.TrackInfo = published.track
        return info


@dataclass
class World:
    config: Config
    media: RecordingMedia = field(default_factory=RecordingMedia)
    now: float = 100.0
    control: ControlPlane = field(init=False)

    def __post_init__(self) -> None:
        self.control = ControlPlane(
            self.config,
            self.media,
            clock=lambda: self.now,
            wall=lambda: WALL + self.now,
            random=Random(1),
        )

    def join(
        self,
        identity: str = "ada",
        *,
        room: str = "demo",
        claims: Claims | None = None,
        protocol: int = 17,
        client: models.ClientInfo | None = None,
        grant: dict[str, Any] | None = None,
        token: dict[str, Any] | None = None,
        **params: Any,
    ) -> Client:
        session = self.control.join(
            self.params(
                identity,
                room=room,
                claims=claims,
                protocol=protocol,
                client=client,
                grant=grant,
                token=token,
                **params,
            )
        )
        added = self.media.named("add_participant")
        return Client(self, session, added[-1]["participant"] if added else 0)

    def resume(self, before: Client, *, last_sequence: int = 0, **params: Any) -> Client:
        """`before` comes back on another connection, and the media plane knows it."""
        params.setdefault("participant_sid", before.sid)
        session = self.control.join(self.params(before.join.participant.identity, reconnect=True, **params))
        back = Client(self, session, before.number)
        back._join = before.join
        self.events(Event.Resumed(before.number, last_sequence))
        return back

    def params(
        self,
        identity: str = "ada",
        *,
        room: str = "demo",
        claims: Claims | None = None,
        protocol: int = 17,
        client: models.ClientInfo | None = None,
        grant: dict[str, Any] | None = None,
        token: dict[str, Any] | None = None,
        **params: Any,
    ) -> JoinParams:
        if claims is None:
            claims = Claims(
                identity=identity,
                video=VideoGrant(**{"room_join": True, "room": room, **(grant or {})}),
                api_key=KEY,
                expires_at=WALL + 6 * 3600,
                **(token or {}),
            )
        if client is None:
            client = models.ClientInfo(sdk=models.ClientInfo.JS, protocol=protocol)
        return JoinParams(claims=claims, room=room, client=client, **params)

    def events(self, *events: Event) -> None:
        self.control.media_events(list(events))

    def track(self, sid: str) -> int:
        """The media plane's number of a track."""
        for name in ("expect_track", "publish_data_track"):
            for arguments in self.media.named(name):
                if arguments["sid"] == sid:
                    number: int = arguments["track"]
                    return number
        raise AssertionError(f"the media plane knows no {sid}")

    def pass_time(self, seconds: float) -> None:
        """Runs what is due on the way."""
        end = self.now + seconds
        while (deadline := self.control.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.control.tick(self.now)
        self.now = end

    def subscribe(self, client: Client, sid: str, mime: str = "audio/opus") -> None:
        self.events(Event.Subscribed(client.number, self.track(sid), mime))


def add_track(cid: str = "mic", **wanted: Any) -> rtc.AddTrackRequest:
    wanted.setdefault("type", models.TrackType.AUDIO)
    wanted.setdefault(
        "source",
        models.TrackSource.MICROPHONE
        if wanted["type"] == models.TrackType.AUDIO
        else models.TrackSource.CAMERA,
    )
    return rtc.AddTrackRequest(cid=cid, **wanted)


def config(**changes: Any) -> Config:
    return Config.parse({"keys": {KEY: SECRET}, **changes})
