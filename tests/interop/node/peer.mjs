// A participant on npm's @livekit/rtc-node, told what to do by lines on its input (see peers.py).
import {
  AudioFrame,
  AudioSource,
  AudioStream,
  LocalAudioTrack,
  Room,
  RoomEvent,
  TrackKind,
  TrackPublishOptions,
  TrackSource,
  dispose,
} from "@livekit/rtc-node";
import { createInterface } from "node:readline";

const RATE = 48_000;
const WAIT = 20_000; // Milliseconds.
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const room = new Room();
const data = [];
const events = []; // Names, and whom or what they are about.
// Follow the clock or the network rather than what somebody did.
const UNORDERED = new Set([
  RoomEvent.ActiveSpeakersChanged,
  RoomEvent.ConnectionQualityChanged,
  RoomEvent.RoomUpdated,
  RoomEvent.TokenRefreshed,
]);
const sound = new Map(); // Identity → the frequency heard last.
let leaving = false;

const peer = {
  async connect(url, token) {
    for (const name of Object.values(RoomEvent)) {
      if (UNORDERED.has(name)) continue;
      room.on(name, (...about) => events.push([name, ...about.map(plain).filter((it) => it !== undefined)].join(" ")));
    }
    room.on(RoomEvent.TrackSubscribed, (track, _, participant) => {
      if (track.kind === TrackKind.KIND_AUDIO) void listen(track, participant.identity);
    });
    room.on(RoomEvent.DataReceived, (payload, participant, _kind, topic) => {
      data.push({ content: new TextDecoder().decode(payload), from: participant?.identity, topic });
    });
    await room.connect(url, token, { autoSubscribe: true, dynacast: false });
  },

  async publishTone(hz) {
    const source = new AudioSource(RATE, 1);
    const options = new TrackPublishOptions({ source: TrackSource.SOURCE_MICROPHONE });
    await room.localParticipant.publishTrack(LocalAudioTrack.createAudioTrack("tone", source), options);
    void play(source, hz);
  },

  async send(content) {
    await room.localParticipant.publishData(new TextEncoder().encode(content), { reliable: true });
  },

  async meets(identity) {
    await until(`meets ${identity}`, () => [room.remoteParticipants.has(identity)]);
  },

  async hears(identity, hz) {
    await until(`hears ${identity} at ${hz} Hz`, () => [Math.abs(sound.get(identity) - hz) < 10, sound.get(identity)]);
  },

  async simulate(scenario) {
    await room.simulateScenario(scenario);
  },

  async notices(name) {
    await until(`notices ${name}`, () => [events.includes(name), events]);
  },

  /** What happened since this was asked last. */
  happened() {
    return events.splice(0);
  },

  async receives(wanted) {
    const matches = (got) => Object.keys(wanted).every((key) => got[key] === wanted[key]);
    await until(`receives ${JSON.stringify(wanted)}`, () => [data.some(matches), data]);
  },
};

/** Of what an event is about: somebody's identity, a track's kind, or a number. */
function plain(about) {
  return about?.identity ?? about?.kind ?? (typeof about === "number" ? about : undefined);
}

async function play(source, hz) {
  const step = RATE / 100;
  for (let at = 0; !leaving; at += step) {
    const frame = AudioFrame.create(RATE, 1, step);
    frame.data.forEach((_, i) => (frame.data[i] = 8000 * Math.sin((2 * Math.PI * hz * (at + i)) / RATE)));
    await source.captureFrame(frame);
  }
}

/** A tone's frequency by how often it rises through zero in half a second. */
async function listen(track, identity) {
  let [rises, samples, last] = [0, 0, 0];
  for await (const frame of new AudioStream(track, RATE, 1)) {
    for (const sample of frame.data) {
      if (last < 0 && sample >= 0) rises++;
      last = sample;
    }
    samples += frame.data.length;
    if (samples >= RATE / 2) {
      sound.set(identity, (rises * RATE) / samples);
      [rises, samples] = [0, 0];
    }
  }
}

async function until(what, probe) {
  const end = performance.now() + WAIT;
  for (;;) {
    const [ok, found] = probe();
    if (ok) return;
    if (performance.now() > end) throw new Error(`Never ${what}. Last: ${JSON.stringify(found)}`);
    await pause(50);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { method, arguments: given } = JSON.parse(line);
  let answer;
  try {
    answer = { result: (await peer[method](...given)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
leaving = true;
await room.disconnect();
await dispose();
process.exit(0);
