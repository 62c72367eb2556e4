"""One signalling connection of one participant: requests in, responses and media commands out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from livekit.protocol import models, rtc

from roomful import strict_json
from roomful.server import fallback, forwarding, liveness, missing
from roomful.server.media import Target
from roomful.server.node import Node, logger
from roomful.server.outbox import Outbox
from roomful.server.participant import Participant
from roomful.server.permissions import TrackPermissions
from roomful.server.profile import update_own

Reason = rtc.RequestResponse.Reason
DisconnectReason = models.DisconnectReason
Action = rtc.LeaveRequest.Action

#: Tracks, participants and permissions that one request may list.
MAX_LISTED = 10_000
#: Bytes of a candidateInit; a candidate is a line of some hundred.
MAX_CANDIDATE = 4096
#: Seconds in which a client that asked for a resume to be broken is taken to come back.
BROKEN_RESUME_WITHIN = 5.0
_LEAVE_REASONS = {
    DisconnectReason.USER_UNAVAILABLE,
    DisconnectReason.USER_REJECTED,
    DisconnectReason.AGENT_ERROR,
}


class Session:
    """Driven by the shell: `receive` for each frame, `connection_lost` when the socket is gone. What the
    client is to be sent is in `outbox`."""

    def __init__(self, node: Node, participant: Participant | None) -> None:
        self.outbox = Outbox()
        self.outbox.on_overflow = self._not_reading
        self._node = node
        #: None after its end, or when there is nobody to resume.
        self._participant = participant
        self._handlers: dict[str, Callable[[Participant, Any], None]] = {
            "offer": lambda _, request: self.offer(request),
            "answer": self._answer,
            "trickle": self._trickle,
            "add_track": lambda participant, request: participant.publications.add(request),
            "mute": lambda participant, request: participant.publications.mute(request),
            "subscription": self._subscription,
            "track_setting": lambda participant, request: participant.subscriptions.set(request),
            "leave": self._leave,
            "update_layers": lambda participant, request: participant.publications.update_layers(request),
            "subscription_permission": self._subscription_permission,
            "sync_state": self._sync_state,
            "simulate": self._simulate,
            "update_metadata": update_own,
            "update_audio_track": lambda participant, request: participant.publications.update_audio(request),
            "update_video_track": lambda participant, request: participant.publications.update_video(request),
            "publish_data_track_request": lambda participant, request: participant.data_tracks.publish(
                request
            ),
            "unpublish_data_track_request": lambda participant, request: participant.data_tracks.unpublish(
                request
            ),
            "update_data_subscription": lambda participant, request: participant.data_tracks.update(request),
            "store_data_blob_request": self._data_blob,
            "get_data_blob_request": self._data_blob,
        }

    # Driven by the shell.

    def receive(self, request: rtc.SignalRequest) -> None:
        """Handles one frame. Never raises."""
        kind = request.WhichOneof("message")
        # Pongs wait for nothing: a late one costs the client its connection.
        if kind == "ping":
            self._push(rtc.SignalResponse(pong=self._node.wall_ms()))
        elif kind == "ping_req":
            self._push(
                rtc.SignalResponse(
                    pong_resp=rtc.Pong(
                        last_ping_timestamp=request.ping_req.timestamp, timestamp=self._node.wall_ms()
                    )
                )
            )
        participant = self._participant
        if participant is None:
            return
        participant.last_signal = self._node.clock()
        if participant.data_missing:
            missing.heard_of(participant)
        if kind in ("ping", "ping_req"):
            participant.pings = True
            return
        handler = self._handlers.get(kind or "")
        if handler is None:
            participant.refuse(Reason.INVALID_REQUEST, "unknown request")
            return
        content = getattr(request, str(kind))
        if _listed(content) > MAX_LISTED:
            participant.refuse(Reason.LIMIT_EXCEEDED, f"{kind} lists more than {MAX_LISTED} things")
            return
        try:
            handler(participant, content)
        except Exception:
            logger.exception("a request failed", request=kind, participant=participant.identity)
            participant.refuse(Reason.UNCLASSIFIED_ERROR, f"{kind} failed in the server")

    def malformed(self, reason: str) -> None:
        """A frame that is no SignalRequest: who sends one is not understood, and goes."""
        participant = self._participant
        if participant is not None:
            participant.refuse(Reason.INVALID_REQUEST, reason)
            participant.room.remove(participant, DisconnectReason.STATE_MISMATCH)

    def connection_lost(self) -> None:
        """The socket closed, from either side."""
        participant, self._participant = self._participant, None
        self.outbox.close()
        if participant is None:
            return
        if participant.returning is self:
            participant.returning = None
        if participant.session is self:
            participant.session = None
        if participant.session is None and participant.returning is None and not participant.removed:
            liveness.signal_lost(participant)

    # Driven by the room.

    def offer(self, request: rtc.SessionDescription) -> None:
        """The client's offer, from a frame or from its join."""
        if participant := self._participant:
            participant.publications.offer_started()
            self._node.media.remote_description(
                participant=participant.id, target="publisher", kind="offer", sdp=request.sdp, id=request.id
            )

    def end(self, goodbye: bytes | None) -> None:
        """The participant's session is over; the socket closes after `goodbye`."""
        self._participant = None
        if goodbye is not None:
            self.outbox.push(goodbye)
        self.outbox.close()

    # Requests.

    def _answer(self, participant: Participant, request: rtc.SessionDescription) -> None:
        if participant.single:
            participant.refuse(Reason.INVALID_REQUEST, "with one peer connection only the client offers")
            return
        participant.stop_timer("answer")
        self._node.media.remote_description(
            participant=participant.id, target="subscriber", kind="answer", sdp=request.sdp, id=request.id
        )

    def _trickle(self, participant: Participant, request: rtc.TrickleRequest) -> None:
        candidate = _candidate(request.candidateInit)
        if candidate is None:
            short = rtc.TrickleRequest(target=request.target, final=request.final)
            participant.reply(
                rtc.RequestResponse(
                    reason=Reason.INVALID_REQUEST,
                    message="candidateInit is no RTCIceCandidateInit",
                    trickle=short,
                )
            )
            return
        subscriber = request.target == rtc.SignalTarget.SUBSCRIBER and not participant.single
        target: Target = "subscriber" if subscriber else "publisher"
        if candidate:
            self._node.media.remote_candidate(participant=participant.id, target=target, candidate=candidate)
        if request.final or not candidate:
            self._node.media.remote_candidate(participant=participant.id, target=target, candidate="")

    def _leave(self, participant: Participant, request: rtc.LeaveRequest) -> None:
        reason = request.reason if request.reason in _LEAVE_REASONS else DisconnectReason.CLIENT_INITIATED
        participant.room.remove(participant, reason, say_goodbye=False)

    def _subscription(self, participant: Participant, request: rtc.UpdateSubscription) -> None:
        participant.subscriptions.wish(request.track_sids, request.participant_tracks, request.subscribe)

    def _subscription_permission(self, participant: Participant, request: rtc.SubscriptionPermission) -> None:
        participant.track_permissions = TrackPermissions.of(request)
        participant.room.track_permissions_changed(participant)
        forwarding.permissions_changed(participant)

    def _sync_state(self, participant: Participant, request: rtc.SyncState) -> None:
        """What the client had before it reconnected. Descriptions and channels are the media plane's."""
        published = {track.track.sid for track in request.publish_tracks}
        known = {publication.sid for publication in participant.publications}
        data_published = {track.info.sid for track in request.publish_data_tracks}
        known_data = {track.sid for track in participant.data_tracks.published.values()}
        if not published <= known or not data_published <= known_data:
            participant.room.remove(participant, DisconnectReason.STATE_MISMATCH, action=Action.RECONNECT)
            return
        self._subscription(participant, request.subscription)
        participant.subscriptions.disable(request.track_sids_disabled)
        participant.data_tracks.update(request.data_subscription)
        if request.datachannel_receive_states:
            received = [(state.publisher_sid, state.last_seq) for state in request.datachannel_receive_states]
            self._node.media.replay_data(participant=participant.id, received=received)

    def _simulate(self, participant: Participant, request: rtc.SimulateScenario) -> None:
        room = participant.room
        scenario = request.WhichOneof("scenario")
        if scenario == "speaker_update":
            delay = min(max(request.speaker_update, 0), 60)
            participant.start_timer("simulated speaker", delay, lambda: room.speakers.simulate(participant))
        elif scenario == "node_failure":
            room.remove(participant, DisconnectReason.SERVER_SHUTDOWN, say_goodbye=False)
        elif scenario == "migration":
            room.remove(participant, DisconnectReason.MIGRATION, say_goodbye=False)
        elif scenario == "server_leave":
            room.remove(participant, DisconnectReason.SERVER_SHUTDOWN)
        elif scenario == "leave_request_full_reconnect":
            room.remove(participant, DisconnectReason.STATE_MISMATCH, action=Action.RECONNECT)
        elif scenario == "disconnect_signal_on_resume":
            self._break_resume(participant, "after")
        elif scenario == "disconnect_signal_on_resume_no_messages":
            self._break_resume(participant, "before")
        elif scenario == "switch_candidate_protocol" and fallback.prefer(
            participant, request.switch_candidate_protocol
        ):
            if not participant.single:
                self._node.media.restart_ice(participant=participant.id, target="subscriber")
        else:
            participant.refuse(Reason.UNSUPPORTED_TYPE, f"{scenario or 'this scenario'} is not simulated")

    def _break_resume(self, participant: Participant, when: Literal["before", "after"]) -> None:
        participant.broken_resume = when

        def forget() -> None:
            participant.broken_resume = None

        participant.start_timer("broken resume", BROKEN_RESUME_WITHIN, forget)

    def _data_blob(
        self, participant: Participant, request: rtc.StoreDataBlobRequest | rtc.GetDataBlobRequest
    ) -> None:
        participant.refuse(Reason.NOT_ALLOWED, "data blobs are disabled", request.request_id)

    # Inside.

    def _push(self, response: rtc.SignalResponse) -> None:
        self.outbox.push(response.SerializeToString())

    def _not_reading(self) -> None:
        # Others may be in the middle of being told: this one goes when they are done.
        self._node.timers.after(0, self._overflowed)

    def _overflowed(self) -> None:
        if self._participant is not None:
            participant = self._participant
            logger.warning("a client does not read", participant=participant.identity, sid=participant.sid)
            participant.room.remove(participant, DisconnectReason.SIGNAL_CLOSE, say_goodbye=False)


def _listed(content: Any) -> int:
    """How many things a request lists, at every depth that there is work to do for."""
    if isinstance(content, rtc.UpdateSubscription):
        return len(content.track_sids) + _listed_in(content.participant_tracks)
    if isinstance(content, rtc.UpdateTrackSettings):
        return len(content.track_sids)
    if isinstance(content, rtc.SubscriptionPermission):
        return _listed_in(content.track_permissions)
    if isinstance(content, rtc.UpdateDataSubscription):
        return len(content.updates)
    if isinstance(content, rtc.SyncState):
        subscribed = _listed(content.subscription) + _listed(content.data_subscription)
        published = len(content.publish_tracks) + len(content.publish_data_tracks)
        received = len(content.datachannel_receive_states)
        return subscribed + len(content.track_sids_disabled) + published + received
    if isinstance(content, rtc.UpdateLocalAudioTrack):
        return len(content.features)
    return 0


def _listed_in(entries: Sequence[models.ParticipantTracks] | Sequence[rtc.TrackPermission]) -> int:
    """Not counted to the end when there are too many already."""
    if len(entries) > MAX_LISTED:
        return len(entries)
    return sum(1 + len(entry.track_sids) for entry in entries)


def _candidate(init: str) -> str | None:
    """The candidate line of an RTCIceCandidateInit, empty for the end of them; None if it is none."""
    if not init:
        return ""
    if len(init) > MAX_CANDIDATE:
        return None
    try:
        value = strict_json.loads(init)
    except ValueError:
        return None
    candidate = value.get("candidate") if isinstance(value, dict) else None
    return candidate if isinstance(candidate, str) else None
