"""Changes of what others see of a participant: name, metadata, attributes, permission."""

from __future__ import annotations

from livekit.protocol import models, rtc

from roomful.server import forwarding
from roomful.server.errors import InvalidArgument
from roomful.server.participant import Participant
from roomful.server.sizes import check_attributes, check_metadata, check_name

Reason = rtc.RequestResponse.Reason


def update_own(participant: Participant, request: rtc.UpdateParticipantMetadata) -> None:
    """Always answered, with the request's id."""
    if not participant.permission.can_update_metadata:
        _answer(participant, request, Reason.NOT_ALLOWED, "does not have permission to update own metadata")
        return
    try:
        update(participant, request.name, request.metadata, dict(request.attributes))
    except InvalidArgument as error:
        _answer(participant, request, Reason.LIMIT_EXCEEDED, error.text)
        return
    if participant.protocol >= 15:
        _answer(participant, request, Reason.OK, "")


def update(
    participant: Participant,
    name: str,
    metadata: str,
    attributes: dict[str, str],
    permission: models.ParticipantPermission | None = None,
) -> None:
    """Empty name or metadata: as before. Attributes merge, an empty value deletes its key. The permission is
    replaced as a whole. Raises `InvalidArgument` before anything is changed."""
    limit = participant.node.config.limit
    merged = {**participant.attributes, **attributes}
    merged = {key: value for key, value in merged.items() if value}
    check_name(limit, name)
    check_metadata(limit, metadata)
    check_attributes(limit, attributes)
    check_attributes(limit, merged)

    participant.name = name or participant.name
    participant.metadata = metadata or participant.metadata
    participant.attributes = merged
    if permission is not None:
        _permit(participant, permission)
    participant.touch()
    participant.room.announce(participant)
    participant.refresh_token()
    forwarding.profile_changed(participant)


def _permit(participant: Participant, permission: models.ParticipantPermission) -> None:
    room, before = participant.room, participant.permission
    after = models.ParticipantPermission()
    after.CopyFrom(permission)
    if after.hidden and not before.hidden:
        room.vanish(participant)
    participant.permission = after
    participant.node.media.update_permissions(
        participant=participant.id,
        hidden=after.hidden,
        can_publish=after.can_publish,
        can_subscribe=after.can_subscribe,
        can_publish_data=after.can_publish_data,
        agent=participant.is_agent,
    )
    participant.publications.permission_changed()
    if not after.can_publish_data:
        participant.data_tracks.unpublish_all()
    if before.can_subscribe != after.can_subscribe or before.recorder != after.recorder:
        room.receives_anew(participant)
    room.changed(participant)


def _answer(
    participant: Participant,
    request: rtc.UpdateParticipantMetadata,
    reason: rtc.RequestResponse.Reason,
    message: str,
) -> None:
    participant.reply(
        rtc.RequestResponse(
            request_id=request.request_id,
            reason=reason,
            message=message,
            update_metadata=rtc.UpdateParticipantMetadata(request_id=request.request_id),
        )
    )
