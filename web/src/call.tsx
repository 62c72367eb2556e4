import { LiveKitRoom, VideoConference, useConnectionState, type LocalUserChoices } from "@livekit/components-react";
import { ConnectionState, DisconnectReason, MediaDeviceFailure, type RoomOptions } from "livekit-client";
import { useMemo } from "react";
import type { Invitation } from "./invitation";

interface CallProps {
  invitation: Invitation;
  choices: LocalUserChoices;
  onLeft: (reason: string) => void;
  onProblem: (problem: string) => void;
}

/** The call itself: video grid, devices, mute, screen share and chat. */
export function Call({ invitation, choices, onLeft, onProblem }: CallProps) {
  const options = useMemo<RoomOptions>(
    () => ({
      adaptiveStream: true,
      dynacast: true,
      audioCaptureDefaults: { deviceId: choices.audioDeviceId || undefined },
      videoCaptureDefaults: { deviceId: choices.videoDeviceId || undefined },
    }),
    [choices],
  );
  return (
    <LiveKitRoom
      className="page-call"
      serverUrl={invitation.url}
      token={invitation.token}
      options={options}
      audio={choices.audioEnabled}
      video={choices.videoEnabled}
      onError={(error) => onProblem(error.message)}
      onMediaDeviceFailure={(failure) =>
        onProblem(`No camera or microphone: ${failure ?? MediaDeviceFailure.Other}. You can still watch and chat.`)
      }
      onDisconnected={(reason) => onLeft(explain(reason))}
    >
      <ConnectionBadge />
      <VideoConference />
    </LiveKitRoom>
  );
}

function ConnectionBadge() {
  const state = useConnectionState();
  return (
    <span className="page-state" data-state={state} role="status">
      {state === ConnectionState.SignalReconnecting ? "reconnecting" : state}
    </span>
  );
}

function explain(reason?: DisconnectReason): string {
  if (reason === undefined || reason === DisconnectReason.CLIENT_INITIATED) {
    return "";
  }
  return `You left the room: ${DisconnectReason[reason].toLowerCase().replaceAll("_", " ")}.`;
}
