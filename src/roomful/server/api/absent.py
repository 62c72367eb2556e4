"""Services that this node does not have. They answer as livekit-server does without Redis."""

from __future__ import annotations

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from livekit.protocol import agent_dispatch, egress, ingress, sip

from roomful.auth import Claims
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

    def authorize(self, method: str, claims: Claims | None, request: Message) -> None:
        grant = claims.sip if claims else None
        calls = method in ("CreateSIPParticipant", "TransferSIPParticipant")
        if grant is None or not (grant.call if calls else grant.admin):
            raise permission_denied()
        raise TwirpError("internal", "sip not connected (redis required)")


class AgentDispatchService:
    """Its methods are not built yet."""

    descriptor: ServiceDescriptor = agent_dispatch.DESCRIPTOR.services_by_name["AgentDispatchService"]

    def authorize(self, method: str, claims: Claims | None, request: Message) -> None:
        grant = claims.video if claims else None
        if grant is None or not grant.room_admin or getattr(request, "room", "") != grant.room:
            raise permission_denied()
