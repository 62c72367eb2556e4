// One participant on npm's livekit-client. Tests call its methods by name; each method that waits does so for
// WAIT milliseconds at most and then rejects, saying what there was instead.
import * as livekit from "/livekit-client.esm.mjs";

const { LocalAudioTrack, LocalVideoTrack, Room, RoomEvent, Track, VideoQuality } = livekit;

livekit.setLogLevel("warn");
const WAIT = 20_000;
const RATE = 48_000; // Samples a second.
const LOUD = 0.01; // Of full scale.
const SOURCES = {
  camera: Track.Source.Camera,
  microphone: Track.Source.Microphone,
  screen: Track.Source.ScreenShare,
};
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const near = (found, wanted, tolerance) => Math.abs(found - wanted) <= tolerance;

// From end to end, by one key of all.
async function encryption(key) {
  const keyProvider = new livekit.ExternalE2EEKeyProvider();
  await keyProvider.setKey(key);
  return { keyProvider, worker: new Worker("/livekit-client.e2ee.worker.mjs", { type: "module" }) };
}

class Peer {
  events = []; // [name, detail], in the order in which they came
  data = []; // of packets, texts and files: {kind, from, topic, content}
  calls = []; // RPC requests that came
  cleanups = [];

  // ---- joining and leaving

  async connect(url, token, { key, ...options } = {}, connectOptions = {}) {
    if (key) options.encryption = await encryption(key);
    this.room = new Room(options);
    if (key) await this.room.setE2EEEnabled(true);
    this.events = [];
    this.data = [];
    this.record();
    this.room.registerTextStreamHandler("text", async (reader, { identity }) => {
      this.data.push({ kind: "text", from: identity, topic: "text", content: await reader.readAll() });
    });
    this.room.registerByteStreamHandler("file", async (reader, { identity }) => {
      const content = (await reader.readAll()).reduce((sum, chunk) => sum + chunk.length, 0);
      this.data.push({ kind: "file", from: identity, topic: "file", content, name: reader.info.name });
    });
    this.room.registerRpcMethod("shout", async ({ callerIdentity, payload }) => {
      this.calls.push(callerIdentity);
      if (payload === "") throw new livekit.RpcError(1701, "nothing to shout");
      return payload.toUpperCase();
    });
    this.room.registerRpcMethod("count", async ({ payload }) => String(payload.length));
    await this.room.connect(url, token, { maxRetries: 0, ...connectOptions });
    return this.room.localParticipant.sid;
  }

  async leave() {
    await this.room.disconnect();
  }

  async simulate(scenario) {
    await this.room.simulateScenario(scenario);
  }

  record() {
    const log = (name, detail) => this.events.push([name, detail]);
    this.room
      .on(RoomEvent.ParticipantConnected, (who) => log("participantConnected", who.identity))
      .on(RoomEvent.ParticipantDisconnected, (who) => log("participantDisconnected", who.identity))
      .on(RoomEvent.TrackPublished, (publication, who) => log("trackPublished", `${who.identity} ${publication.source}`))
      .on(RoomEvent.TrackUnpublished, (publication, who) => log("trackUnpublished", `${who.identity} ${publication.source}`))
      .on(RoomEvent.TrackSubscribed, (_, publication, who) => log("trackSubscribed", `${who.identity} ${publication.source}`))
      .on(RoomEvent.TrackUnsubscribed, (_, publication, who) => log("trackUnsubscribed", `${who.identity} ${publication.source}`))
      .on(RoomEvent.TrackSubscriptionPermissionChanged, (publication, status, who) =>
        log("subscriptionPermission", `${who.identity} ${publication.source} ${status}`),
      )
      .on(RoomEvent.TrackSubscriptionFailed, (_sid, who, reason) => log("subscriptionFailed", `${who.identity} ${reason}`))
      .on(RoomEvent.TrackMuted, (publication, who) => log("trackMuted", `${who.identity} ${publication.source}`))
      .on(RoomEvent.TrackUnmuted, (publication, who) => log("trackUnmuted", `${who.identity} ${publication.source}`))
      .on(RoomEvent.ActiveSpeakersChanged, (speakers) => {
        log("speakers", speakers.map(({ identity }) => identity).join(" "));
      })
      .on(RoomEvent.ParticipantMetadataChanged, (_, who) => log("metadata", `${who.identity} ${who.metadata}`))
      .on(RoomEvent.ParticipantNameChanged, (name, who) => log("name", `${who.identity} ${name}`))
      .on(RoomEvent.ParticipantAttributesChanged, (changed, who) => {
        log("attributes", `${who.identity} ${JSON.stringify(Object.fromEntries(Object.entries(changed).sort()))}`);
      })
      .on(RoomEvent.ParticipantPermissionsChanged, (_, who) => {
        const { canPublish, canPublishSources, canSubscribe } = who.permissions;
        log("permissions", `${who.identity} ${canPublish} ${canSubscribe} ${canPublishSources.join()}`);
      })
      .on(RoomEvent.RoomMetadataChanged, (metadata) => log("roomMetadata", metadata))
      .on(RoomEvent.LocalTrackUnpublished, (publication) => log("localTrackUnpublished", publication.source))
      .on(RoomEvent.Moved, (name) => log("moved", name))
      .on(RoomEvent.ConnectionStateChanged, (state) => log("state", state))
      .on(RoomEvent.SignalReconnecting, () => log("signalReconnecting", ""))
      .on(RoomEvent.Reconnecting, () => log("reconnecting", ""))
      .on(RoomEvent.Reconnected, () => log("reconnected", ""))
      .on(RoomEvent.Disconnected, (reason) => log("disconnected", String(reason)))
      .on(RoomEvent.DataReceived, (payload, who, _kind, topic) => {
        const content = payload.length > 2000 ? `${payload.length} bytes` : new TextDecoder().decode(payload);
        this.data.push({ kind: "packet", from: who?.identity, topic, content });
      });
  }

  // ---- publishing

  async publishTone(hz) {
    this.audio ??= new AudioContext();
    const [oscillator, sink] = [this.audio.createOscillator(), this.audio.createMediaStreamDestination()];
    oscillator.frequency.value = hz;
    oscillator.connect(sink);
    oscillator.start();
    const track = new LocalAudioTrack(sink.stream.getAudioTracks()[0], undefined, true);
    await this.room.localParticipant.publishTrack(track, { source: Track.Source.Microphone });
  }

  async publishMicrophone() {
    await this.room.localParticipant.setMicrophoneEnabled(true);
  }

  async publishCamera(publish = {}, [width, height, frameRate] = [1280, 720, 30]) {
    const capture = { resolution: { width, height, frameRate } };
    await this.room.localParticipant.setCameraEnabled(true, capture, { backupCodec: false, ...publish });
  }

  async publishScreen() {
    await this.room.localParticipant.setScreenShareEnabled(true);
  }

  /** A picture of one colour that flickers, so that there is always something to send. */
  async publishColour(colour, publish = {}, [width, height] = [320, 180]) {
    await this.publishDrawing(width, height, publish, (canvas, frame) => {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, width, height);
      canvas.fillStyle = "black";
      canvas.fillRect((frame * 4) % width, 0, 8, 8);
    });
  }

  /** Noise, which no codec makes small: it takes all the bitrate that it may. */
  async publishNoise(publish = {}, [width, height] = [640, 360]) {
    const grain = new ImageData(width, height);
    const pixels = new Uint32Array(grain.data.buffer);
    await this.publishDrawing(width, height, publish, (canvas) => {
      for (let i = 0; i < pixels.length; i++) pixels[i] = 0xff000000 | (Math.random() * 0xffffff);
      canvas.putImageData(grain, 0, 0);
    });
  }

  async publishDrawing(width, height, publish, draw) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    document.body.append(canvas);
    const context = canvas.getContext("2d");
    let frame = 0;
    draw(context, frame);
    const timer = setInterval(() => draw(context, ++frame), 1000 / 30);
    this.cleanups.push(() => clearInterval(timer));
    const track = new LocalVideoTrack(canvas.captureStream(30).getVideoTracks()[0], undefined, true);
    const options = { source: Track.Source.Camera, simulcast: false, backupCodec: false, ...publish };
    await this.room.localParticipant.publishTrack(track, options);
  }

  async unpublish(source) {
    await this.room.localParticipant.unpublishTrack(this.own(source).track);
  }

  async mute(source) {
    await this.own(source).mute();
  }

  async unmute(source) {
    await this.own(source).unmute();
  }

  own(source) {
    const publication = this.room.localParticipant.getTrackPublication(SOURCES[source]);
    if (!publication) throw new Error(`publishes no ${source}`);
    return publication;
  }

  allowOnly(...identities) {
    this.room.localParticipant.setTrackSubscriptionPermissions(
      false,
      identities.map((participantIdentity) => ({ participantIdentity, allowAll: true })),
    );
  }

  allowEverybody() {
    this.room.localParticipant.setTrackSubscriptionPermissions(true);
  }

  /** What the sender of `source` says of each layer that it sends, the largest first. */
  async sending(source) {
    const layers = [];
    for (const entry of (await this.own(source).track.sender.getStats()).values()) {
      if (entry.type !== "outbound-rtp") continue;
      const { rid, frameWidth, frameHeight, framesEncoded, targetBitrate, qualityLimitationReason, active } = entry;
      const { scalabilityMode, bytesSent, keyFramesEncoded, nackCount, pliCount } = entry;
      layers.push({
        rid, frameWidth, frameHeight, framesEncoded, targetBitrate, qualityLimitationReason, active,
        scalabilityMode, bytesSent, keyFramesEncoded, nackCount, pliCount,
      });
    }
    return layers.sort((a, b) => (b.frameWidth ?? 0) - (a.frameWidth ?? 0));
  }

  /** Until the largest layer's encoder may use `bitrate` (bit/s) and a second's bytes come near it. */
  async climbs(source, bitrate) {
    let before = { at: performance.now(), bytes: Infinity };
    return await this.until(`climbs to ${bitrate}`, async () => {
      const [layer] = await this.sending(source);
      const [at, bytes] = [performance.now(), layer?.bytesSent ?? 0];
      if (at - before.at < 1000) return { ok: false, ...layer };
      const sent = ((bytes - before.bytes) * 8000) / (at - before.at);
      before = { at, bytes };
      return { ok: layer?.targetBitrate >= bitrate && sent >= bitrate * 0.85, sent: Math.round(sent), ...layer };
    });
  }

  /** By what it reaches the server, each once: "udp", "tcp", or "relay" and by what it asks one. */
  async path() {
    const found = new Set();
    const { publisher, subscriber } = this.room.engine.pcManager;
    for (const connection of [publisher, subscriber]) {
      const stats = (await connection?.getStats()) ?? new Map();
      const selected = new Set([...stats.values()].map((entry) => entry.selectedCandidatePairId));
      for (const entry of stats.values()) {
        // Firefox marks the pair itself.
        if (entry.type !== "candidate-pair" || !(selected.has(entry.id) || entry.selected)) continue;
        const own = stats.get(entry.localCandidateId);
        found.add(own.candidateType === "relay" ? `relay ${own.relayProtocol}` : own.protocol);
      }
    }
    return [...found].sort();
  }

  // ---- receiving

  remote(identity, source) {
    return this.room.remoteParticipants.get(identity)?.getTrackPublication(SOURCES[source]);
  }

  subscribe(identity, source, wanted) {
    this.remote(identity, source).setSubscribed(wanted);
  }

  prefer(identity, source, quality) {
    this.remote(identity, source).setVideoQuality(VideoQuality[quality]);
  }

  /** Until fresh frames of a track are decoded that are as wanted: {width, codec, colour: [r, g, b]}. */
  async sees(identity, source, wanted = {}) {
    let first;
    return await this.until(`sees ${source} of ${identity} as ${JSON.stringify(wanted)}`, async () => {
      const track = this.remote(identity, source)?.videoTrack;
      if (!track) return { ok: false, problem: "no track" };
      const [element = track.attach()] = track.attachedElements;
      element.muted = true;
      const report = await this.receiving(track);
      first ??= report.framesDecoded;
      const fresh = report.framesDecoded >= first + 3 && !element.paused && element.currentTime > 0;
      const colour = wanted.colour && element.videoWidth ? this.colourOf(element) : undefined;
      const ok =
        fresh &&
        (!wanted.width || (report.frameWidth === wanted.width && element.videoWidth === wanted.width)) &&
        (!wanted.codec || report.codec === wanted.codec) &&
        (!wanted.colour || (colour && colour.every((value, i) => near(value, wanted.colour[i], 40))));
      return { ok, ...report, colour, shown: [element.videoWidth, element.videoHeight, element.currentTime] };
    });
  }

  /** Until no frame of a track has been decoded for a second, or there is no track any more. */
  async seesNothing(identity, source) {
    let last = { frames: -1, at: 0 };
    return await this.until(`sees no ${source} of ${identity}`, async () => {
      const track = this.remote(identity, source)?.videoTrack;
      const frames = track ? (await this.receiving(track)).framesDecoded : 0;
      if (frames !== last.frames) last = { frames, at: performance.now() };
      return { ok: !track || performance.now() - last.at > 1000, frames };
    });
  }

  async receiving(track) {
    const statistics = await track.receiver.getStats();
    for (const entry of statistics.values()) {
      if (entry.type !== "inbound-rtp") continue;
      const { framesDecoded = 0, frameWidth, frameHeight, bytesReceived, packetsReceived, packetsLost, keyFramesDecoded, pliCount } = entry;
      const codec = statistics.get(entry.codecId)?.mimeType?.split("/")[1];
      return { framesDecoded, frameWidth, frameHeight, bytesReceived, packetsReceived, packetsLost, keyFramesDecoded, pliCount, codec };
    }
    return { framesDecoded: 0, problem: "nothing comes in" };
  }

  colourOf(element) {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
    const context = canvas.getContext("2d");
    const [width, height] = [element.videoWidth, element.videoHeight];
    context.drawImage(element, width / 4, height / 4, width / 2, height / 2, 0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  }

  /** Until the microphone of somebody sounds at `hz`. */
  async hears(identity, hz) {
    return await this.until(`hears ${identity} at ${hz} Hz`, async () => {
      const found = await this.listen(identity);
      return { ok: found.peak > LOUD && near(found.hz, hz, 20), ...found };
    });
  }

  /** Until sound comes that isn't silence, whatever it is. */
  async hearsSomething(identity) {
    return await this.until(`hears ${identity}`, async () => {
      const found = await this.listen(identity);
      return { ok: found.peak > LOUD, ...found };
    });
  }

  async hearsNothing(identity) {
    return await this.until(`hears nothing of ${identity}`, async () => {
      const found = await this.listen(identity);
      return { ok: found.peak < LOUD / 10, ...found };
    });
  }

  /** The frequency and the peak of half a second; of music or speech only the peak says anything. */
  async listen(identity) {
    const track = this.remote(identity, "microphone")?.audioTrack;
    if (!track) return { hz: 0, peak: 0, problem: "no track" };
    if (!track.attachedElements.length) track.attach(); // Chromium decodes only what an element plays.
    const samples = await this.recorded(track.mediaStreamTrack);
    let rises = 0;
    for (let i = 1; i < samples.length; i++) if (samples[i - 1] < 0 && samples[i] >= 0) rises++;
    return {
      hz: Math.round((rises * RATE) / samples.length),
      peak: samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0),
      ...(await this.receiving(track)),
    };
  }

  /** Recorded and decoded: an AudioContext would not run in Firefox without an audio device. */
  async recorded(mediaStreamTrack) {
    const recorder = new MediaRecorder(new MediaStream([mediaStreamTrack]));
    const chunks = [];
    recorder.ondataavailable = ({ data }) => chunks.push(data);
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    await pause(500);
    if (recorder.state !== "inactive") recorder.stop();
    await stopped;
    const file = await new Blob(chunks).arrayBuffer();
    // Of a busy machine there may be nothing, or no whole frame.
    const decoded = await new OfflineAudioContext(1, RATE, RATE).decodeAudioData(file).catch(() => undefined);
    if (!decoded) return new Float32Array(1);
    return decoded.getChannelData(0).subarray(RATE / 10); // The codec's own start is left out.
  }

  // ---- data

  async send(text, options = {}) {
    const { size, ...rest } = options;
    const payload = size ? new Uint8Array(size) : new TextEncoder().encode(text);
    await this.room.localParticipant.publishData(payload, { reliable: true, ...rest });
  }

  async sendText(text, options = {}) {
    await this.room.localParticipant.sendText(text, { topic: "text", ...options });
  }

  async sendFile(name, size) {
    await this.room.localParticipant.sendFile(new File([new Uint8Array(size)], name), { topic: "file" });
  }

  async request(destinationIdentity, method, payload) {
    try {
      return await this.room.localParticipant.performRpc({ destinationIdentity, method, payload });
    } catch (error) {
      return { code: error.code, message: error.message };
    }
  }

  async receives(wanted, wait = WAIT) {
    const keys = Object.keys(wanted);
    return await this.until(`receives ${JSON.stringify(wanted)}`, async () => {
      const found = this.data.find((got) => keys.every((key) => got[key] === wanted[key]));
      return { ok: Boolean(found), ...found };
    }, wait);
  }

  // ---- everything else

  /** Until an event of that name and detail has come, counted from the last `forget`. */
  async notices(name, detail) {
    return await this.until(`notices ${name} ${detail ?? ""}`, async () => ({
      ok: this.events.some((event) => event[0] === name && (detail === undefined || event[1] === detail)),
    }));
  }

  /** Events of these names since the last `forget`, in order. */
  seen(...names) {
    return this.events.map(([name]) => name).filter((name) => names.includes(name));
  }

  forget() {
    this.events = [];
  }

  /** Until it knows of somebody. */
  async meets(identity) {
    return await this.until(`meets ${identity}`, async () => ({ ok: this.who().includes(identity) }));
  }

  /** The sids under which it publishes. */
  published() {
    return [...this.room.localParticipant.trackPublications.keys()].sort();
  }

  who() {
    return [...this.room.remoteParticipants.keys()].sort();
  }

  /** Lines of media in each description in force. */
  sections() {
    const { publisher, subscriber } = this.room.engine.pcManager;
    return [publisher, subscriber]
      .map((transport) => transport?._pc?.currentLocalDescription?.sdp)
      .map((sdp) => (sdp?.match(/^m=/gm) ?? []).length);
  }

  async until(what, probe, wait = WAIT) {
    const end = performance.now() + wait;
    for (;;) {
      const found = await probe();
      if (found.ok) return found;
      if (performance.now() > end) {
        throw new Error(
          `Never ${what}.\nLast: ${JSON.stringify(found)}\nEvents: ${JSON.stringify(this.events)}\n` +
            `Data: ${JSON.stringify(this.data)}\nState: ${this.room?.state}`,
        );
      }
      await pause(100);
    }
  }
}

window.peer = new Peer();
