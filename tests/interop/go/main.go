// A participant on server-sdk-go that gives back what it gets: Opus packets by a track named "echo", data
// packets to whoever sent them, on the topic "echo"; but "fail" has it simulate a failure of the node, and
// "events" is answered by those since then. It reads nothing and leaves when its input ends.
// With "admin" for the first argument it is a client of the server API instead.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

const frame = 20 * time.Millisecond

var (
	room   *lksdk.Room
	lock   sync.Mutex
	events []string // Names, and whom they are about; not of subscriptions, which have no order with the rest.
)

func main() {
	if os.Args[1] == "admin" {
		if err := administrate(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			report(err)
			os.Exit(1)
		}
		return
	}
	callback := &lksdk.RoomCallback{ParticipantCallback: lksdk.ParticipantCallback{
		OnTrackPublished: func(_ *lksdk.RemoteTrackPublication, who *lksdk.RemoteParticipant) {
			note("track published", who.Identity())
		},
		OnTrackUnpublished: func(_ *lksdk.RemoteTrackPublication, who *lksdk.RemoteParticipant) {
			note("track unpublished", who.Identity())
		},
		OnTrackUnsubscribed: func(_ *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, who *lksdk.RemoteParticipant) {
			note("track unsubscribed", who.Identity())
		},
		OnTrackSubscribed: func(track *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, _ *lksdk.RemoteParticipant) {
			if track.Kind() == webrtc.RTPCodecTypeAudio {
				go report(echoTrack(track))
			}
		},
		OnDataPacket: func(data lksdk.DataPacket, from lksdk.DataReceiveParams) {
			if packet, ok := data.(*lksdk.UserDataPacket); ok {
				go report(echoData(packet, from.SenderIdentity))
			}
		},
	}}
	callback.OnParticipantConnected = func(who *lksdk.RemoteParticipant) { note("connected", who.Identity()) }
	callback.OnParticipantDisconnected = func(who *lksdk.RemoteParticipant) { note("disconnected", who.Identity()) }
	callback.OnReconnecting = func() { note("reconnecting") }
	callback.OnReconnected = func() { note("reconnected") }
	callback.OnDisconnectedWithReason = func(reason lksdk.DisconnectionReason) { note("left", string(reason)) }
	var err error
	if room, err = lksdk.ConnectToRoomWithToken(os.Args[1], os.Args[2], callback); err != nil {
		report(err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	room.Disconnect()
}

func echoTrack(heard *webrtc.TrackRemote) error {
	capability := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	echo, err := lksdk.NewLocalTrack(capability)
	if err != nil {
		return err
	}
	options := &lksdk.TrackPublicationOptions{Name: "echo"}
	if _, err = room.LocalParticipant.PublishTrack(echo, options); err != nil {
		return err
	}
	for {
		packet, _, err := heard.ReadRTP()
		if err != nil {
			return nil // The track has ended.
		}
		if len(packet.Payload) == 0 {
			continue
		}
		if err = echo.WriteSample(media.Sample{Data: packet.Payload, Duration: frame}, nil); err != nil {
			return err
		}
	}
}

func note(event ...string) {
	lock.Lock()
	defer lock.Unlock()
	events = append(events, strings.Join(event, " "))
}

func forget() {
	lock.Lock()
	defer lock.Unlock()
	events = nil
}

func happened() string {
	lock.Lock()
	defer lock.Unlock()
	return strings.Join(events, ", ")
}

func echoData(packet *lksdk.UserDataPacket, sender string) error {
	switch string(packet.Payload) {
	case "fail":
		forget()
		room.Simulate(lksdk.SimulateNodeFailure)
		return nil
	case "events":
		packet = lksdk.UserData([]byte(happened()))
	}
	return room.LocalParticipant.PublishDataPacket(
		lksdk.UserData(packet.Payload),
		lksdk.WithDataPublishReliable(true),
		lksdk.WithDataPublishTopic("echo"),
		lksdk.WithDataPublishDestination([]string{sender}),
	)
}

func report(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "go:", err)
	}
}
