"""A participant's tracks shown in a second room, by a participant there that is nothing but its image.

The image has the identity, name, metadata and attributes of the real one and the kind detail FORWARDED. It
follows what the real one does and ends with it, or when it is removed from its room.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from livekit.protocol import models

from roomful.server.join import JoinParams
from roomful.server.node import logger

if TYPE_CHECKING:
    from roomful.server.participant import Participant
    from roomful.server.publications import Publication
    from roomful.server.room import Room

_FORWARDED = "forwarded"


def start(real: Participant, image: Participant, room: Room) -> None:
    """`image`, made by `image_params`, shows what `real` publishes in `room`, on the same media worker."""
    image.origin = real
    image.state = models.ParticipantInfo.State.ACTIVE
    real.forwarded[room.id] = image
    _copy_profile(real, image)
    room.add(image)
    room.announce(image)
    room.notify("participant_joined", image)
    logger.info("participant is forwarded", room=real.room.name, to=room.name, participant=real.identity)
    for publication in real.publications:
        if publication.bound:
            _show(publication, image)


def image_params(real: Participant, room: Room) -> JoinParams:
    """As whom the image joins."""
    claims = real.claims
    assert claims.video is not None
    video = replace(claims.video, room=room.name)
    details = tuple(dict.fromkeys((*claims.kind_details, _FORWARDED)))
    claims = replace(claims, video=video, kind_details=details)
    return JoinParams(claims, room.name, models.ClientInfo(protocol=real.protocol))


def stop(participant: Participant) -> None:
    """It leaves its room: its images end, and so does what it is an image of, without a trace there."""
    for image in list(participant.forwarded.values()):
        image.room.remove(image, models.DisconnectReason.CLIENT_INITIATED)
    if participant.origin is not None:
        participant.origin.forwarded.pop(participant.room.id, None)


def track_published(publication: Publication) -> None:
    for image in publication.owner.forwarded.values():
        _show(publication, image)


def track_changed(publication: Publication) -> None:
    for image in publication.owner.forwarded.values():
        image.publications.shown_changed(publication)


def track_ended(publication: Publication) -> None:
    for image in publication.owner.forwarded.values():
        if shown := image.publications.get(publication.sid):
            image.publications.remove(shown, tell_publisher=False)


def profile_changed(participant: Participant) -> None:
    for image in participant.forwarded.values():
        if participant.permission.hidden and not image.permission.hidden:
            image.room.vanish(image)
        _copy_profile(participant, image)
        image.touch()
        image.room.announce(image)


def permissions_changed(participant: Participant) -> None:
    """Whom it lets subscribe."""
    for image in participant.forwarded.values():
        image.track_permissions = participant.track_permissions
        image.room.track_permissions_changed(image)


def _copy_profile(real: Participant, image: Participant) -> None:
    image.name, image.metadata = real.name, real.metadata
    image.attributes = dict(real.attributes)
    image.track_permissions = real.track_permissions
    permission = models.ParticipantPermission()
    permission.CopyFrom(real.permission)
    permission.can_subscribe = permission.can_publish_data = False
    image.permission = permission


def _show(publication: Publication, image: Participant) -> None:
    node, number = image.node, image.node.ids.number()
    image.publications.show(publication, number)
    node.media.forward_track(
        track=publication.id, mirror=number, room=image.room.id, owner=image.id, sid=image.sid
    )
