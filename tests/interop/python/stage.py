"""A room on a server, and people in it on PyPI's `livekit`.

A person notes every event of its room, and waits for what it wants to see, hear or read until a limit.
"""

from __future__ import annotations

import asyncio
import datetime
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from livekit import api

from .media import RATE, SOUND, Colour, Picture, Sound, Tone, picture_of
from .sdk import rtc

#: Seconds that a person waits for one thing.
WAIT = 15.0
#: Seconds between two looks at something that gives no event.
GLANCE = 0.05
#: Seconds without a frame, of which there are a hundred a second, after which a stream is taken for ended.
STILL = 1.0

#: Events whose time follows the clock or the network rather than what somebody did.
UNORDERED = {"active_speakers_changed", "connection_quality_changed", "room_updated", "token_refreshed"}

Event = list[Any]


class Person:
    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.room = rtc.Room()
        #: Every event so far, as [name, what it is about, …].
        self.log: list[Event] = []
        #: (from, text or bytes, topic, reliable) of each data packet.
        self.packets: list[tuple[str | None, bytes, str | None, bool]] = []
        #: (from, content, info) of each stream that came to its end.
        self.texts: list[tuple[str, str, rtc.TextStreamInfo]] = []
        self.files: list[tuple[str, bytes, rtc.ByteStreamInfo]] = []
        self.data_tracks: list[rtc.RemoteDataTrack] = []
        #: By identity: the newest sound and picture, how many pictures there were.
        self.sounds: dict[str, Sound] = {}
        self.pictures: dict[str, Picture] = {}
        self.frames: dict[str, int] = defaultdict(int)
        self.fault: Exception | None = None
        self._waiting: dict[asyncio.Future[Any], Callable[[], Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: By sid of the track.
        self._taking: dict[str, asyncio.Task[None]] = {}
        for name in rtc.room.EventTypes.__args__:
            self.room.on(name, self._noting(name))

    @property
    def me(self) -> rtc.LocalParticipant:
        return self.room.local_participant

    @property
    def events(self) -> list[Event]:
        """What happened, in an order that the server decides."""
        return [event for event in self.log if event[0] not in UNORDERED]

    def other(self, identity: str) -> rtc.RemoteParticipant:
        return self.room.remote_participants[identity]

    def publication(self, identity: str, source: int) -> rtc.RemoteTrackPublication:
        """Somebody's newest track of that source. Raises LookupError."""
        found = [one for one in self.other(identity).track_publications.values() if one.source == source]
        return found[-1]

    # ---- publishing

    async def play(self, hertz: int, **options: Any) -> rtc.LocalTrackPublication:
        """Publishes a tone, as from a microphone."""
        source = rtc.AudioSource(RATE, 1, queue_size_ms=200)
        track = rtc.LocalAudioTrack.create_audio_track("tone", source)
        options = {"source": rtc.TrackSource.SOURCE_MICROPHONE, **options}
        publication = await self.me.publish_track(track, rtc.TrackPublishOptions(**options))
        self.spawn(Tone(hertz).play(source))
        return publication

    async def show(
        self, colour: Colour, width: int = 320, height: int = 180, **options: Any
    ) -> rtc.LocalTrackPublication:
        """Publishes a picture of one colour, as from a camera. `colour.value` may change later."""
        source = rtc.VideoSource(width, height)
        track = rtc.LocalVideoTrack.create_video_track("colour", source)
        options = {"source": rtc.TrackSource.SOURCE_CAMERA, "simulcast": False, **options}
        publication = await self.me.publish_track(track, rtc.TrackPublishOptions(**options))
        self.spawn(colour.show(source, width, height))
        return publication

    # ---- waiting

    async def until(self, what: str, probe: Callable[[], Any], wait: float = WAIT) -> Any:
        """The first true answer of `probe`, asked again at each thing that happens here."""
        self.check()
        if found := probe():
            return found
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = probe
        try:
            async with asyncio.timeout(wait):
                return await answer
        except TimeoutError:
            raise AssertionError(f"{self.identity}: never {what}; {self._state()}") from None
        finally:
            del self._waiting[answer]

    async def sees_event(self, *wanted: Any, count: int = 1, wait: float = WAIT) -> None:
        """An event that begins like this, for the nth time."""
        start = list(wanted)
        await self.until(
            f"event {start} x{count}",
            lambda: sum(event[: len(start)] == start for event in self.log) >= count,
            wait,
        )

    async def meets(self, *identities: str) -> None:
        await self.until(f"meets {identities}", lambda: set(identities) <= set(self.room.remote_participants))

    async def meets_active(self, *identities: str) -> None:
        """Until they are known to be active, which has no order with what one does meanwhile."""
        await self.meets(*identities)

        def probe() -> bool:
            return all(
                self.other(one).state == rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE for one in identities
            )

        await self.until(f"meets {identities} active", probe)

    async def hears(self, identity: str, hertz: int, wait: float = WAIT) -> None:
        def probe() -> bool:
            sound = self.sounds.get(identity)
            return sound is not None and abs(sound.hertz() - hertz) <= 10

        await self.until(f"hears {hertz} Hz of {identity}", probe, wait)

    async def hears_afresh(self, identity: str, hertz: int) -> None:
        """As `hears`, by sound that comes from now on."""
        self.sounds.pop(identity, None)
        await self.hears(identity, hertz)

    async def hears_no_more(self, identity: str) -> None:
        """Silence, or nothing at all for a while."""
        async with asyncio.timeout(WAIT):
            while not (sound := self.sounds[identity]).has_faded():
                try:
                    await self.until(
                        "hears more", lambda sound=sound: self.sounds[identity] is not sound, STILL
                    )
                except AssertionError:
                    return

    async def sees(self, identity: str, rgb: tuple[int, int, int], width: int = 0) -> None:
        def probe() -> bool:
            picture = self.pictures.get(identity)
            return picture is not None and picture.shows(rgb) and width in (0, picture.width)

        await self.until(f"sees {rgb} {width or ''} of {identity}", probe)

    async def receives(self, content: bytes, sender: str | None = "ada", topic: str = "") -> bool:
        """Whether the packet came by the reliable channel."""

        def probe() -> list[bool]:
            # Wrapped: False is an answer too.
            return [
                reliable
                for who, data, about, reliable in self.packets
                if (who, data, about or "") == (sender, content, topic)
            ]

        return bool((await self.until(f"receives {content[:40]!r} {topic}", probe))[-1])

    async def glance(self, what: str, probe: Callable[[], Awaitable[Any]], wait: float = WAIT) -> Any:
        """The first true answer of `probe`, for what can only be asked for, such as statistics."""
        found = None
        try:
            async with asyncio.timeout(wait):
                while not (found := await probe()):  # noqa: ASYNC110
                    await asyncio.sleep(GLANCE)
                return found
        except TimeoutError:
            raise AssertionError(f"{self.identity}: never {what}; last {found}; {self._state()}") from None

    # ---- what comes in

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def check(self) -> None:
        """Raises what went wrong in taking an event."""
        if self.fault:
            raise self.fault

    def note(self) -> None:
        """Asks the probes here and now: what they look for may be gone when their tasks run."""
        for answer, probe in self._waiting.items():
            if answer.done():
                continue
            try:
                self.check()
                if found := probe():
                    answer.set_result(found)
            except Exception as error:
                answer.set_exception(error)

    async def leave(self) -> None:
        await self.room.disconnect()
        for task in list(self._tasks):
            task.cancel()

    def accept_streams(self, topic: str) -> None:
        self.room.register_text_stream_handler(
            topic, lambda reader, who: self.spawn(self._read_text(reader, who)) and None
        )
        self.room.register_byte_stream_handler(
            topic, lambda reader, who: self.spawn(self._read_file(reader, who)) and None
        )

    async def _read_text(self, reader: rtc.TextStreamReader, identity: str) -> None:
        self.texts.append((identity, await reader.read_all(), reader.info))
        self.note()

    async def _read_file(self, reader: rtc.ByteStreamReader, identity: str) -> None:
        content = b"".join([chunk async for chunk in reader])
        self.files.append((identity, content, reader.info))
        self.note()

    def _noting(self, name: str) -> Callable[..., None]:
        def on_event(*arguments: Any) -> None:
            try:
                take(*arguments)
            except Exception as error:
                # The client would log it and go on.
                self.fault = self.fault or error
            self.note()

        def take(*arguments: Any) -> None:
            self.log.append([name, *_about(name, arguments)])
            if name == "track_subscribed":
                track, _, who = arguments
                listens = track.kind == rtc.TrackKind.KIND_AUDIO
                taking = self.spawn((self._listen if listens else self._watch)(track, who.identity))
                self._taking[track.sid] = taking
            elif name == "track_unsubscribed":
                # With a single connection no stream ends by itself: it goes on with the line's next track.
                if taking := self._taking.pop(arguments[0].sid, None):
                    taking.cancel()
            elif name == "data_received":
                (packet,) = arguments
                who = packet.participant.identity if packet.participant else None
                reliable = packet.kind == rtc.DataPacketKind.KIND_RELIABLE
                self.packets.append((who, packet.data, packet.topic, reliable))
            elif name == "data_track_published":
                self.data_tracks.append(arguments[0])

        return on_event

    async def _listen(self, track: rtc.Track, identity: str) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
        samples = np.zeros(0, np.int16)
        try:
            async for event in stream:
                if identity not in self.sounds:
                    samples = samples[:0]
                samples = np.concatenate([samples, np.frombuffer(event.frame.data, np.int16)])[-SOUND:]
                self.sounds[identity] = Sound(samples)
                self.note()
        finally:
            await stream.aclose()

    async def _watch(self, track: rtc.Track, identity: str) -> None:
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.RGBA)
        try:
            async for event in stream:
                self.pictures[identity] = picture_of(event.frame)
                self.frames[identity] += 1
                self.note()
        finally:
            await stream.aclose()

    def _state(self) -> str:
        heard = {who: (round(sound.hertz()), sound.loudness()) for who, sound in self.sounds.items()}
        return f"heard {heard}, saw {self.pictures}, frames {dict(self.frames)}, events {self.log}"


def _about(name: str, arguments: tuple[Any, ...]) -> Event:
    """What to keep of an event: identities, sources and values, never what differs from run to run."""
    if name == "participant_disconnected":
        (who,) = arguments
        return [who.identity, rtc.DisconnectReason.Name(who.disconnect_reason or 0)]
    if name in ("participant_metadata_changed", "participant_name_changed"):
        # What it was before the client tells too, from a copy that another of its tasks may have renewed.
        who, _, now = arguments
        return [who.identity, now]
    return [_plain(argument) for argument in arguments]


def _plain(argument: Any) -> Any:
    match argument:
        case rtc.Participant():
            return argument.identity
        case rtc.TrackPublication():
            return rtc.TrackSource.Name(argument.source).removeprefix("SOURCE_").lower()
        case rtc.Track():
            return rtc.TrackKind.Name(argument.kind).removeprefix("KIND_").lower()
        case rtc.SipDTMF():
            return argument.digit
        case rtc.DataPacket():
            return argument.data[:40].decode(errors="replace")
        case rtc.RemoteDataTrack():
            return argument.info.name
        case list():
            return [_plain(one) for one in argument]
        case dict():
            return dict(sorted(argument.items()))
        case str() if argument.startswith(("TR_", "DTR_")):
            return argument.split("_")[0]
    if hasattr(argument, "DESCRIPTOR"):
        return sorted(field.name for field, value in argument.ListFields() if value is True)
    return argument


@dataclass
class Stage:
    """One room for one scenario."""

    url: str
    key: str
    secret: str
    single: bool
    room: str
    #: In this process; people reach it without a network then.
    server: Any = None
    people: list[Person] = field(default_factory=list)

    def token(self, identity: str, ttl: float = 600, secret: str = "", **grants: Any) -> str:
        token = api.AccessToken(self.key, secret or self.secret).with_identity(identity)
        for claim in ("name", "metadata", "attributes", "room_config"):
            if claim in grants:
                getattr(token, f"with_{claim}")(grants.pop(claim))
        grants = {"room_join": True, "room": self.room, **grants}
        token.with_ttl(datetime.timedelta(seconds=ttl)).with_grants(api.VideoGrants(**grants))
        return str(token.to_jwt())

    async def join(self, identity: str, options: dict[str, Any] | None = None, **grants: Any) -> Person:
        return await self.enter(Person(identity), self.token(identity, **grants), **(options or {}))

    async def enter(self, person: Person, token: str, **options: Any) -> Person:
        self.people.append(person)
        options.setdefault("single_peer_connection", self.single)
        async with asyncio.timeout(WAIT):
            await person.room.connect(self.server or self.url, token, rtc.RoomOptions(**options))
        person.log.append(["connect() returned", sorted(person.room.remote_participants)])
        return person

    async def pair(self) -> tuple[Person, Person]:
        """Ada and Bob, who know each other and can send each other anything."""
        ada = await self.join("ada")
        bob = await self.join("bob")
        await bob.meets("ada")
        await ada.meets_active("bob")
        return ada, bob

    def api(self) -> api.LiveKitAPI:
        return api.LiveKitAPI(self.url.replace("ws", "http", 1), self.key, self.secret)

    async def close(self) -> None:
        for person in self.people:
            async with asyncio.timeout(WAIT):
                await person.leave()


Play = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    play: Play
    #: Its events are compared with those that livekit-server gives.
    recorded: bool
    #: livekit-server does not do this.
    ours: bool
    #: Has a test of its own.
    alone: bool
    #: Configuration of the server.
    config: dict[str, Any]


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *, recorded: bool = False, ours: bool = False, alone: bool = False, **config: Any
) -> Callable[[Play], Play]:
    def register(play: Play) -> Play:
        SCENARIOS[play.__name__] = Scenario(play, recorded, ours, alone, config)
        return play

    return register
