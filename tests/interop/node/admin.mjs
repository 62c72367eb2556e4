// npm's livekit-server-sdk, told which method to call by lines on its input (see peers.py).
import { AgentDispatchClient, RoomServiceClient, TrackSource } from "livekit-server-sdk";
import { createInterface } from "node:readline";

const [url, key, secret] = process.argv.slice(2);
const rooms = new RoomServiceClient(url, key, secret);
const agents = new AgentDispatchClient(url, key, secret);
const bytes = (base64) => new Uint8Array(Buffer.from(base64 ?? "", "base64"));

const methods = {
  CreateRoom: (it) => rooms.createRoom(it),
  ListRooms: async (it) => ({ rooms: await rooms.listRooms(it.names) }),
  DeleteRoom: (it) => rooms.deleteRoom(it.room),
  ListParticipants: async (it) => ({ participants: await rooms.listParticipants(it.room) }),
  GetParticipant: (it) => rooms.getParticipant(it.room, it.identity),
  RemoveParticipant: (it) => rooms.removeParticipant(it.room, it.identity),
  MutePublishedTrack: async (it) => ({
    track: await rooms.mutePublishedTrack(it.room, it.identity, it.trackSid, it.muted),
  }),
  UpdateParticipant: ({ room, identity, permission, ...changes }) => {
    const canPublishSources = permission?.canPublishSources?.map((name) => TrackSource[name]);
    return rooms.updateParticipant(room, identity, {
      ...changes,
      ...(permission && { permission: { ...permission, canPublishSources } }),
    });
  },
  UpdateSubscriptions: (it) => rooms.updateSubscriptions(it.room, it.identity, it.trackSids, it.subscribe),
  SendData: (it) =>
    rooms.sendData(it.room, bytes(it.data), it.kind === "LOSSY" ? 1 : 0, {
      destinationIdentities: it.destinationIdentities,
      topic: it.topic,
    }),
  UpdateRoomMetadata: (it) => rooms.updateRoomMetadata(it.room, it.metadata),
  ForwardParticipant: (it) => rooms.forwardParticipant(it.room, it.identity, it.destinationRoom),
  MoveParticipant: (it) => rooms.moveParticipant(it.room, it.identity, it.destinationRoom),
  CreateDispatch: ({ room, agentName, ...options }) => agents.createDispatch(room, agentName, options),
  ListDispatch: async (it) => ({ agentDispatches: await agents.listDispatch(it.room) }),
  DeleteDispatch: (it) => agents.deleteDispatch(it.dispatchId, it.room),
};

/** Messages as protojson, whatever they are in. */
function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.toJson === "function") return value.toJson();
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]));
}

async function call(method, request) {
  try {
    return { answer: plain((await methods[method](request)) ?? {}) };
  } catch (error) {
    if (!error.code) throw error;
    return { code: error.code, text: error.message };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const { arguments: given } = JSON.parse(line);
    console.log(JSON.stringify({ result: await call(...given) }));
  } catch (error) {
    console.log(JSON.stringify({ error: `${error.stack ?? error}` }));
  }
}
