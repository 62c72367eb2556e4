"""Who may join, and the first message that a participant gets."""

from __future__ import annotations

from livekit.protocol import models, rtc

from roomful.server import codecs, frames, grants
from roomful.server.errors import InvalidArgument
from roomful.server.join import JoinParams, Refusal
from roomful.server.node import Node
from roomful.server.participant import Participant, joined_attributes
from roomful.server.rates import network_of
from roomful.server.rooms import Rooms
from roomful.server.sizes import attributes_size

#: The signalling protocol that we speak.
PROTOCOL = 17
AGENT_PROTOCOL = 1
#: Clients compare this with the releases of livekit-server whose features they need.
SERVER_VERSION = "1.13.5"
#: Seconds between a client's pings, and without anything of ours until it takes its connection for lost. It
#: must be back before `liveness.VANISHED_AFTER`; but LiveKit's Rust core, whose only try takes 5 s, must not
#: begin one so early in a pause of 12 s that the try fails.
PING_INTERVAL = 3
PING_TIMEOUT = 13


def check(node: Node, rooms: Rooms, params: JoinParams) -> None:
    """Raises `Refusal` with the status and text that clients act on."""
    claims, grant, limit = params.claims, params.claims.video, node.config.limit
    if grant is None or not grant.room_join:
        raise Refusal(401, "permissions denied")
    if (params.metadata or params.attributes) and not grant.can_update_own_metadata:
        raise Refusal(401, "permissions denied")
    if not claims.identity:
        raise Refusal(400, "identity cannot be empty")
    if not params.room:
        raise Refusal(400, "no room name")
    attributes = joined_attributes(params)
    for text, what, longest in (
        (params.room, "room name", limit.max_room_name_length),
        (claims.identity, "identity", limit.max_participant_identity_length),
        (claims.name, "participant name", limit.max_participant_name_length),
        (params.metadata or claims.metadata, "metadata", limit.max_metadata_size),
    ):
        if longest and len(text.encode()) > longest:
            raise Refusal(400, f"{what} length exceeds limits: max length {longest}")
    if limit.max_attributes_size and attributes_size(attributes) > limit.max_attributes_size:
        raise Refusal(400, f"attributes exceed limits: max size {limit.max_attributes_size}")

    if node.draining and not params.reconnect:
        # Not a 4xx, which clients take for final: another server may answer soon.
        raise Refusal(503, "draining: this server stops soon and takes nobody new")
    _check_rates(node, params)
    room = rooms.find(params.room)
    if room is None:
        if not node.config.room.auto_create and not grant.room_create:
            raise Refusal(404, "requested room does not exist")
        try:
            rooms.settings(claims.room_preset, claims.room_config)
        except InvalidArgument as error:
            raise Refusal(400, error.text) from None
    if params.reconnect:
        return
    if limit.num_tracks and len(node.tracks) + node.subscriptions >= limit.num_tracks:
        raise Refusal(503, f"node is at its limit: limit.num_tracks {limit.num_tracks}")
    dependent = grants.is_dependent(claims.kind_number, grants.permission_of(grant))
    if room is not None and not dependent and room.is_full_for(claims.identity):
        raise Refusal(403, f'room "{room.name}" is full: max_participants {room.info.max_participants}')


def _check_rates(node: Node, params: JoinParams) -> None:
    """503, as clients take a 4xx for final and would not come back."""
    limit = node.config.limit
    if not params.in_process and node.joins_by_ip.full(network_of(params.client.address)):
        raise Refusal(
            503, f"too many joins from one address: limit.joins_per_sec_per_ip {limit.joins_per_sec_per_ip:g}"
        )
    if node.joins_by_key.full(params.claims.api_key):
        raise Refusal(
            503,
            f"too many joins with one API key: limit.joins_per_sec_per_key {limit.joins_per_sec_per_key:g}",
        )


def count(node: Node, params: JoinParams) -> None:
    """A join that was not refused."""
    if not params.in_process:
        node.joins_by_ip.take(network_of(params.client.address))
    node.joins_by_key.take(params.claims.api_key)


def first_message(participant: Participant) -> bytes:
    """JoinResponse: everything that a client needs to know before anything else."""
    node, room = participant.node, participant.room
    config = node.config
    configuration = client_configuration(participant)
    response = rtc.JoinResponse(
        room=room.info,
        participant=participant.info(),
        server_version=SERVER_VERSION,
        server_region=config.region,
        server_info=server_info(node),
        ice_servers=ice_servers(participant),
        subscriber_primary=participant.subscriber_primary,
        ping_interval=PING_INTERVAL,
        ping_timeout=PING_TIMEOUT,
        sif_trailer=room.sif_trailer,
        enabled_publish_codecs=codecs.publishable(config, participant.disabled_codecs),
        # With a way given up it is likely to fail once more.
        fast_publish=participant.permission.can_publish and participant.ways.preference == "any",
    )
    if configuration is not None:
        response.client_configuration.CopyFrom(configuration)
    return frames.join(response, (other.encoded() for other in room.visible_to(participant)))


def client_configuration(participant: Participant) -> models.ClientConfiguration | None:
    """What this client must be kept from; None: nothing."""
    disabled = participant.disabled_codecs
    configuration = models.ClientConfiguration()
    if disabled.codecs or disabled.publish:
        configuration.disabled_codecs.CopyFrom(disabled)
    if participant.ways.preference == "relay":
        configuration.force_relay = models.ClientConfigSetting.ENABLED
    return configuration if configuration.ListFields() else None


def ice_servers(participant: Participant) -> list[rtc.ICEServer]:
    node = participant.node
    only_tls = participant.ways.preference == "relay"
    return node.ice_servers.for_participant(
        participant.sid, participant.reached, node.wall(), only_tls=only_tls
    )


def server_info(node: Node) -> models.ServerInfo:
    return models.ServerInfo(
        edition=models.ServerInfo.Standard,
        version=SERVER_VERSION,
        protocol=PROTOCOL,
        agent_protocol=AGENT_PROTOCOL,
        region=node.config.region,
        node_id=node.sid,
        debug_info="roomful" if node.config.development else "",
    )
