"""What a client asks for when it joins: the request of `/rtc` and `/rtc/v1` after its token was checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from livekit.protocol.models import ClientInfo
from livekit.protocol.rtc import AddTrackRequest, SessionDescription, SyncState

from roomful.auth import Claims


class Refusal(Exception):
    """A request refused with an HTTP status and a text for the person who sees it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class JoinParams:
    claims: Claims
    room: str
    client: ClientInfo
    #: One peer connection, on which only the client offers. Selected by the presence of `join_request`.
    single_peer_connection: bool = False
    auto_subscribe: bool = True
    auto_subscribe_data_track: bool = False
    adaptive_stream: bool = False
    #: None leaves it to the configuration.
    subscriber_allow_pause: bool | None = None
    disable_ice_lite: bool = False
    reconnect: bool = False
    #: `livekit.ReconnectReason`
    reconnect_reason: int = 0
    #: Of the session to resume; set with `reconnect` only.
    participant_sid: str = ""
    #: Given with the join beside the token's; both need `can_update_own_metadata`.
    metadata: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    publisher_offer: SessionDescription | None = None
    add_track_requests: Sequence[AddTrackRequest] = ()
    sync_state: SyncState | None = None
    #: The local address by which the client reached the signalling socket.
    signal_address: str | None = None
