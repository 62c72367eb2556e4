// What witness.py does, for a page with tests/interop's peer.js: a tone, numbered messages, and notes with times
// of what comes of the other's.
import { RoomEvent } from "/livekit-client.esm.mjs";

const TONE = 440;
const LOOK = 50; // ms between two looks at the packets.
const PAUSE = 150; // ms without a packet, of which there are fifty a second.
const TRY = 10_000; // ms for one try of something that the network may prevent.
const TOPIC = "number";
// Follow the clock or the probing rather than the fault.
const UNTOLD = new Set([
  RoomEvent.ActiveSpeakersChanged,
  RoomEvent.ConnectionQualityChanged,
  RoomEvent.DataReceived,
  RoomEvent.ParticipantAttributesChanged,
  RoomEvent.LocalAudioSilenceDetected,
  RoomEvent.DCBufferStatusChanged,
  RoomEvent.AudioPlaybackStatusChanged,
]);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const withinTry = (work) => Promise.race([work, pause(TRY).then(() => Promise.reject(new Error("too late")))]);
const peer = window.peer;
const diary = { events: [], pauses: [], sent: 0, refused: [], received: [] };
let movedAt = 0;
let sending = false;

const plain = (argument) => argument?.identity ?? argument?.source ?? argument?.kind ?? argument;
const told = (argument) => ["string", "number"].includes(typeof argument);

Object.assign(peer, {
  async join(url, token, single, relay) {
    const rtcConfig = relay ? { iceTransportPolicy: "relay" } : {};
    await peer.connect(url, token, { singlePeerConnection: single }, { rtcConfig, maxRetries: 1 });
    for (const name of Object.values(RoomEvent)) {
      if (UNTOLD.has(name)) continue;
      peer.room.on(name, (...about) => {
        diary.events.push([Date.now() / 1000, name, ...about.map(plain).filter(told)]);
      });
    }
    peer.room.on(RoomEvent.DataReceived, (payload, _who, _kind, topic) => {
      if (topic === TOPIC) diary.received.push(Number(new TextDecoder().decode(payload)));
    });
  },

  async begin(other) {
    await peer.meets(other);
    await peer.publishTone(TONE);
    await peer.hears(other, TONE);
    watch(other);
  },

  /** Sends numbered messages from now on, one in so many seconds. */
  number(interval) {
    sending = true;
    sendNumbers(interval * 1000);
  },

  /** Whether signalling and media work both ways: each says a word by an attribute, and reads the other's. */
  async recovers(other, word) {
    const end = Date.now() + TRY;
    for (let own = false; Date.now() < end; await pause(100)) {
      own ||= await withinTry(peer.room.localParticipant.setAttributes({ word })).then(
        () => true,
        () => false,
      );
      const said = peer.room.remoteParticipants.get(other)?.attributes.word;
      if (own && said === word && Date.now() - movedAt < PAUSE) return true;
    }
    return false;
  },

  settle() {
    sending = false;
    return diary.sent;
  },

  report() {
    const still = Date.now() - movedAt;
    const lasting = still > PAUSE ? [[movedAt / 1000, still / 1000]] : [];
    return { ...diary, pauses: [...diary.pauses, ...lasting] };
  },
});

async function sendNumbers(interval) {
  while (sending) {
    const number = ++diary.sent;
    try {
      const payload = new TextEncoder().encode(String(number));
      await peer.room.localParticipant.publishData(payload, { reliable: true, topic: TOPIC });
    } catch {
      diary.refused.push(number);
    }
    await pause(interval);
  }
}

/** Notes when no packet of somebody's tone comes. */
async function watch(identity) {
  for (let before; ; await pause(LOOK)) {
    const track = peer.remote(identity, "microphone")?.audioTrack;
    const packets = track?.receiver ? (await peer.receiving(track)).packetsReceived : undefined;
    if (packets === undefined || packets === before) continue;
    before = packets;
    if (movedAt && Date.now() - movedAt > PAUSE) {
      diary.pauses.push([movedAt / 1000, (Date.now() - movedAt) / 1000]);
    }
    movedAt = Date.now();
  }
}
