/**
 * Which payloads of a batch are sampled, as the scripts take them.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { MAX_DECODED_BYTES } from "../../payload/payload_decoder.ts";
import { MAX_DEVICE_ID_BYTES } from "../../protocol/field_limits.ts";
import type { DeviceDelta } from "../packets.ts";
import { packDevices, packSeen } from "./device_columns.ts";
import type { Argument } from "./redis_command.ts";

/** How many, and the columns of ids and payloads; empty: those of the batch. */
export type SampleColumns = [count: number, ids: Argument, payloads: Argument];

/** None, as where values are not kept. */
const none: SampleColumns = [0, "", ""];

/** Those of a batch that may be decoded: mostly all, so that nothing is sent twice. */
export function sampleColumns(isOn: boolean, deltas: readonly DeviceDelta[]): SampleColumns {
  const short = isOn ? sampledOf(deltas) : [];
  if (short.length === 0) return none;
  if (short.length === deltas.length) return [short.length, "", ""];
  const [ids, , , payloads] = packDevices(short);
  return [short.length, ids!, payloads!];
}

/** The same of deltas that are merged, with the column of when each was received. */
export function mergedSampleColumns(
  isOn: boolean,
  deltas: readonly (DeviceDelta & { readonly seenMs: number })[],
): [...SampleColumns, seen: Argument] {
  const short = isOn ? sampledOf(deltas) : [];
  return [...sampleColumns(isOn, deltas), short.length === deltas.length ? "" : packSeen(short)];
}

function sampledOf<Delta extends DeviceDelta>(deltas: readonly Delta[]): readonly Delta[] {
  const isSampled = ({ bytes, payload }: Delta) =>
    (bytes?.payloadBytes ?? payload.length) <= MAX_DECODED_BYTES;
  return deltas.every(isSampled) ? deltas : deltas.filter(isSampled);
}

/** Ids as the scripts take them, each preceded by its length in one byte: one argument costs less than thousands. */
export function packIds(deviceIds: readonly string[]): Buffer {
  const packed = Buffer.allocUnsafe(deviceIds.length * (1 + MAX_DEVICE_ID_BYTES));
  let at = 0;
  for (const deviceId of deviceIds) {
    const length = packed.write(deviceId, at + 1);
    packed[at] = length;
    at += 1 + length;
  }
  return packed.subarray(0, at);
}
