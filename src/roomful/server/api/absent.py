"""Services that this node does not have. They answer as livekit-server does without Redis."""

from __future__ import annotations

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from livekit.protocol import egress, ingress, sip

from roomful.auth import Claims
from roomful.server.api.rooms import Rooms
from roomful.server.api.twirp import TwirpError, permission_denied


class EgressService:
    descriptor: ServiceDescriptor = egress.DESCRIPTOR.services_by_name["Egress"]

    def authorize(self, method: str, claims: Claims | None, request: Message) -> None:
        if not (claims and claims.video and claims.video.room_record):
            raise permission_denied()
        raise TwirpError("internal", "egress not connected (redis required)")


class IngressService:
    descriptor: ServiceDescriptor = ingress.DESCRIPTOR.services_by_name["Ingress"]

    def authorize(self, method: str, claims: Claims | None, request: Message) -> None:
        if not (claims and claims.video and claims.video.ingress_admin):
            raise permission_denied()
        raise TwirpError("internal", "ingress not connected (redis required)")


class SipService:
    descriptor: ServiceDescriptor = sip.DESCRIPTOR.services_by_name["SIP"]

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def authorize(self, method: str, claims: Claims | None, request: Message) -> None:
        if isinstance(request, sip.TransferSIPParticipantRequest):
            self._check_transfer(claims, request)
        grant = claims.sip if claims else None
        calls = method in ("CreateSIPParticipant", "TransferSIPParticipant")
        if grant is None or not (grant.call if calls else grant.admin):
            raise permission_denied()
        raise TwirpError("internal", "sip not connected (redis required)")

    def _check_transfer(self, claims: Claims | None, request: sip.TransferSIPParticipantRequest) -> None:
        """What comes before the question whether there is SIP at all."""
        if not request.room_name:
            raise TwirpError("invalid_argument", "Missing room name")
        if not request.participant_identity:
            raise TwirpError("invalid_argument", "Missing participant identity")
        video, grant = (claims.video, claims.sip) if claims else (None, None)
        admin = video is not None and video.room_admin and video.room == request.room_name
        if grant is None or not grant.call or not admin:
            raise permission_denied()
        found = self._rooms.get_participant(request.room_name, request.participant_identity)
        if "sip.callID" not in found.attributes:
            raise TwirpError("invalid_argument", "no SIP session associated with participant")
