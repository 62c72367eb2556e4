"""Between a token's grants and the permission that participants see."""

from __future__ import annotations

from dataclasses import replace

from livekit.protocol import models

from roomful.auth import VideoGrant

Kind = models.ParticipantInfo.Kind


def permission_of(grant: VideoGrant) -> models.ParticipantPermission:
    return models.ParticipantPermission(
        can_subscribe=grant.may_subscribe,
        can_publish=grant.may_publish,
        can_publish_data=grant.may_publish_data,
        can_publish_sources=grant.sources,  # type: ignore[arg-type]
        hidden=grant.hidden,
        recorder=grant.recorder,
        can_update_metadata=grant.can_update_own_metadata,
        agent=grant.agent,
        can_subscribe_metrics=grant.can_subscribe_metrics,
        can_manage_agent_session=grant.can_manage_agent_session,
    )


def grant_of(permission: models.ParticipantPermission, grant: VideoGrant) -> VideoGrant:
    """`grant` with what the permission says now."""
    return replace(
        grant,
        can_subscribe=permission.can_subscribe,
        can_publish=permission.can_publish,
        can_publish_data=permission.can_publish_data,
        can_publish_sources=tuple(
            models.TrackSource.Name(source).lower() for source in permission.can_publish_sources
        ),
        hidden=permission.hidden,
        recorder=permission.recorder,
        can_update_own_metadata=permission.can_update_metadata,
        agent=permission.agent,
        can_subscribe_metrics=permission.can_subscribe_metrics,
        can_manage_agent_session=permission.can_manage_agent_session,
    )


def may_publish(permission: models.ParticipantPermission, source: int) -> bool:
    """An empty list of sources allows all of them."""
    sources = permission.can_publish_sources
    return permission.can_publish and (not sources or (source != 0 and source in sources))


def is_recorder(kind: int, permission: models.ParticipantPermission) -> bool:
    return kind == Kind.EGRESS or permission.recorder


def is_dependent(kind: int, permission: models.ParticipantPermission) -> bool:
    """Agents and recorders are there for the others: they neither keep a room open nor fill it."""
    return kind == Kind.AGENT or permission.agent or is_recorder(kind, permission)
