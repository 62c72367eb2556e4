"""What the media plane reports, and who must be told."""

from __future__ import annotations

import json
from collections.abc import Iterable

from livekit.protocol import models, rtc

from roomful.server import fallback, liveness, missing, resuming
from roomful.server.media import Event
from roomful.server.node import Node, logger
from roomful.server.participant import Participant, State
from roomful.server.publications import Publication
from roomful.server.room import Action, DisconnectReason

Reason = rtc.RequestResponse.Reason

#: Seconds that a client may take to answer an offer.
ANSWER_TIMEOUT = 15.0
#: Seconds between two refusals of packets that a client is told of.
REFUSAL_INTERVAL = 1.0
_TARGETS = {"publisher": rtc.SignalTarget.PUBLISHER, "subscriber": rtc.SignalTarget.SUBSCRIBER}


def handle(node: Node, batch: Iterable[Event]) -> None:
    for event in batch:
        try:
            _one(node, event)
        except Exception:
            logger.exception("a media event failed", media_event=type(event).__name__)
    for room in list(node.rooms.values()):
        room.quality.flush()


def _one(node: Node, event: Event) -> None:
    """Ids that are gone are no error: both planes change at once."""
    if isinstance(event, Event.Speakers):
        if room := node.rooms.get(event.room):
            room.speakers.changed(event)
    elif isinstance(event, Event.Subscribed | Event.Unsubscribed | Event.SubscriptionFailed):
        subscriber, publication = node.participants.get(event.participant), node.tracks.get(event.track)
        # One of them may have gone to another room meanwhile.
        if subscriber and publication and subscriber.room is publication.owner.room:
            _subscription(subscriber, publication, event)
    elif isinstance(event, Event.TrackBound | Event.TrackEnded | Event.Qualities | Event.AudioCodecs):
        publication = node.tracks.get(event.track)
        if publication is not None:
            _track(publication, event)
    else:
        participant = node.participants.get(getattr(event, "participant", 0))
        if participant is not None:
            _participant(participant, event)


def _subscription(
    subscriber: Participant,
    publication: Publication,
    event: Event.Subscribed | Event.Unsubscribed | Event.SubscriptionFailed,
) -> None:
    if isinstance(event, Event.Subscribed):
        subscriber.subscriptions.started(publication)
    elif isinstance(event, Event.Unsubscribed):
        subscriber.subscriptions.stopped(publication)
    else:
        subscriber.subscriptions.failed(publication)


def _track(
    publication: Publication,
    event: Event.TrackBound | Event.TrackEnded | Event.Qualities | Event.AudioCodecs,
) -> None:
    publisher = publication.owner
    if isinstance(event, Event.TrackBound):
        publisher.publications.bound(publication, event)
    elif isinstance(event, Event.TrackEnded):
        publisher.publications.ended(publication)
    elif isinstance(event, Event.Qualities):
        subscribed = [
            rtc.SubscribedCodec(
                codec=codec,
                qualities=[
                    rtc.SubscribedQuality(quality=quality, enabled=enabled)
                    for quality, enabled in zip(_QUALITIES, levels, strict=True)
                ],
            )
            for codec, levels in event.codecs
        ]
        publication.wanted = rtc.SubscribedQualityUpdate(
            track_sid=publication.sid,
            subscribed_qualities=subscribed[0].qualities if subscribed else [],
            subscribed_codecs=subscribed,
        )
        publisher.send(rtc.SignalResponse(subscribed_quality_update=publication.wanted))
    else:
        publisher.send(
            rtc.SignalResponse(
                subscribed_audio_codec_update=rtc.SubscribedAudioCodecUpdate(
                    track_sid=publication.sid,
                    # Go's client compares these with its own in lower case.
                    subscribed_audio_codecs=[
                        models.SubscribedAudioCodec(codec=mime, enabled=enabled)
                        for mime, enabled in event.codecs
                    ],
                )
            )
        )


_QUALITIES = (models.VideoQuality.LOW, models.VideoQuality.MEDIUM, models.VideoQuality.HIGH)


def _participant(participant: Participant, event: Event) -> None:
    room = participant.room
    if isinstance(event, Event.Description):
        _description(participant, event)
    elif isinstance(event, Event.DescriptionRejected):
        if event.target == "publisher":
            participant.publications.offer_settled()
        participant.refuse(Reason.INVALID_REQUEST, f"the session description cannot be used: {event.reason}")
    elif isinstance(event, Event.Candidate):
        _candidate(participant, event)
    elif isinstance(event, Event.Connection):
        _connection(participant, event)
    elif isinstance(event, Event.MediaSections):
        if participant.single:
            participant.send(
                rtc.SignalResponse(
                    media_sections_requirement=rtc.MediaSectionsRequirement(
                        num_audios=event.audios, num_videos=event.videos
                    )
                )
            )
    elif isinstance(event, Event.Resumed):
        resuming.complete(participant, event.last_sequence)
    elif isinstance(event, Event.DataMissing):
        missing.noticed(participant)
    elif isinstance(event, Event.Answered):
        if call := participant.calls.get(event.caller):
            call.received(event.packet)
    elif isinstance(event, Event.Quality):
        for shown in (participant, *participant.forwarded.values()):
            shown.room.quality.changed(shown, event)
    elif isinstance(event, Event.Liveness):
        liveness.media_event(participant, event)
    elif isinstance(event, Event.Refused):
        logger.debug("refused", participant=participant.identity, detail=event.detail)
        if "refused" not in participant.timers:
            participant.start_timer("refused", REFUSAL_INTERVAL, lambda: participant.stop_timer("refused"))
            participant.refuse(Reason.NOT_ALLOWED, event.detail)
    elif isinstance(event, Event.Overflow | Event.Fault):
        # Its transports are closed. A full reconnect is a fresh start, and nobody else is affected.
        logger.warning(
            "media ended", participant=participant.identity, sid=participant.sid, detail=event.detail
        )
        room.remove(participant, DisconnectReason.STATE_MISMATCH, action=Action.RECONNECT)


def _description(participant: Participant, event: Event.Description) -> None:
    description = rtc.SessionDescription(
        type=event.kind, sdp=event.sdp, id=event.id, mid_to_track_id=event.mids
    )
    if event.kind == "answer":
        participant.send(rtc.SignalResponse(answer=description))
        participant.publications.offer_settled()
        return
    if participant.session is None:
        # Who resumes is offered anew.
        return
    participant.send(rtc.SignalResponse(offer=description))
    participant.start_timer(
        "answer",
        ANSWER_TIMEOUT,
        lambda: participant.room.remove(
            participant, DisconnectReason.STATE_MISMATCH, action=Action.RECONNECT
        ),
    )


def _candidate(participant: Participant, event: Event.Candidate) -> None:
    """All three fields always: a client parses them without asking."""
    init = json.dumps(
        {"candidate": event.candidate, "sdpMid": event.mid, "sdpMLineIndex": event.mline},
        separators=(",", ":"),
    )
    trickle = rtc.TrickleRequest(candidateInit=init, target=_TARGETS[event.target], final=event.last)
    participant.send(rtc.SignalResponse(trickle=trickle))


def _connection(participant: Participant, event: Event.Connection) -> None:
    primary = event.target == participant.primary_target
    if event.state == "connected":
        participant.ways.connected(event.target, event.way)
        liveness.connected(participant)
        if primary and participant.state == State.JOINED:
            liveness.activated(participant)
            participant.room.activated(participant)
    elif event.state == "failed":
        logger.warning(
            "no connection for media",
            participant=participant.identity,
            sid=participant.sid,
            target=event.target,
            detail=event.detail,
        )
        fallback.media_failed(participant, event)
        liveness.media_failed(participant)
    elif event.state == "closed" and primary:
        liveness.media_closed(participant)
