/**
 * Packets as prebuilt DATA frames: a ring that is sent round and round, so that a packet costs the load
 * generator little more than its share of a `write`.
 *
 * @module
 */
import { streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { writeFrameHeader } from "../support/http2_frames.ts";
import { DATA, FRAME_HEADER_BYTES, MAX_FRAME_BYTES } from "../support/http2_numbers.ts";

/** Which packets, and how they travel. */
export interface PacketRingOptions {
  readonly rpc: "StreamPackets" | "StreamBatches";
  /** Packets of a message; 1 for StreamPackets. */
  readonly packetsPerMessage: number;
  /**
   * `message`: each has a DATA frame of its own, or several when it is long, as devices' libraries send it.
   * `filled`: messages fill frames of 16 KiB and go on in the next, as in bodies that are sent as a whole.
   */
  readonly packing: "message" | "filled";
  /** Packets are those of devices `firstDevice`, …, one after the other, `devices` of them. */
  readonly firstDevice: number;
  readonly devices: number;
  /** Payloads are JSON of 40 bytes with two numbers; default: letters that are no value. */
  readonly json?: boolean | undefined;
}

/** Frames of stream 1, in groups that hold whole messages. */
export interface PacketRing {
  /** The frames, one behind the other. */
  readonly bytes: Uint8Array;
  /** Where each frame begins; one entry more for where the last ends. */
  readonly frameAt: Float64Array;
  readonly groups: number;
  readonly framesPerGroup: number;
  readonly packetsPerGroup: number;
}

/** Bytes of the payload; with it, a Packet and gRPC's prefix are 44 bytes. */
const PAYLOAD_BYTES = 16;

/** Compressed or not, and the length. */
const PREFIX_BYTES = 5;

/** Most devices whose ids have the same length. */
export const MAX_DEVICES = 1_000_000;

/** Id of device number `index`: always 12 bytes. */
export function deviceId(index: number): string {
  return `bench-${String(index).padStart(6, "0")}`;
}

/** Always 40 bytes. */
function jsonPayload(index: number): Uint8Array {
  const [temperature, humidity] = [10 + index * 7 % 890 / 10, 10 + index * 3 % 890 / 10];
  return new TextEncoder().encode(
    `{"temperature":${temperature.toFixed(1)},"humidity":${humidity.toFixed(2)}}`,
  );
}

/** Builds the frames; their timestamp is `nowMs`. */
export function packetRing(options: PacketRingOptions, nowMs: number): PacketRing {
  const { rpc, packetsPerMessage, packing, firstDevice, devices, json = false } = options;
  const packet = (index: number) => ({
    device_id: deviceId(firstDevice + index % devices),
    timestamp: nowMs,
    payload: json ? jsonPayload(index) : new Uint8Array(PAYLOAD_BYTES).fill(97),
  });
  const message = (index: number): Uint8Array => {
    const from = index * packetsPerMessage;
    return rpc === "StreamPackets"
      ? streamPackets.requestSerialize(packet(from))
      : streamBatches.requestSerialize({
        packets: Array.from({ length: packetsPerMessage }, (_, offset) => packet(from + offset)),
      });
  };
  const messageBytes = PREFIX_BYTES + message(0).length;
  // As many messages as end where a frame ends.
  const messagesPerGroup = packing === "message"
    ? 1
    : MAX_FRAME_BYTES / commonDivisor(messageBytes, MAX_FRAME_BYTES);
  const packetsPerGroup = messagesPerGroup * packetsPerMessage;
  const groupBytes = messagesPerGroup * messageBytes;
  const framesPerGroup = Math.ceil(groupBytes / MAX_FRAME_BYTES);
  const groups = Math.ceil(devices / packetsPerGroup);

  const bytes = new Uint8Array(groups * (groupBytes + framesPerGroup * FRAME_HEADER_BYTES));
  const frameAt = new Float64Array(groups * framesPerGroup + 1);
  const body = new Uint8Array(groupBytes);
  const prefix = new DataView(body.buffer);
  for (let group = 0, at = 0, frame = 0; group < groups; group++) {
    for (let index = 0; index < messagesPerGroup; index++) {
      const encoded = message(group * messagesPerGroup + index);
      prefix.setUint32(index * messageBytes + 1, encoded.length);
      body.set(encoded, index * messageBytes + PREFIX_BYTES);
    }
    for (let from = 0; from < groupBytes; from += MAX_FRAME_BYTES) {
      const part = body.subarray(from, from + MAX_FRAME_BYTES);
      writeFrameHeader(bytes, at, part.length, DATA, 0, 1);
      bytes.set(part, at + FRAME_HEADER_BYTES);
      at += FRAME_HEADER_BYTES + part.length;
      frameAt[++frame] = at;
    }
  }
  return { bytes, frameAt, groups, framesPerGroup, packetsPerGroup };
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}
