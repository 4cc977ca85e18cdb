/**
 * Clients that know what they sent: what was acknowledged must be counted, and nothing twice.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { status } from "@grpc/grpc-js";

import { framedBatch, framedPacket, RawCall } from "../support/harness.ts";
import type { Random } from "../support/random.ts";
import type { ClientAccess } from "./client_access.ts";
import { scriptedDevices, scriptedPacket, scriptedRejections } from "./device_script.ts";
import type { IndexRange } from "./journal_damage.ts";
import type { StoreLosses } from "./store_losses.ts";

/** What must be found about one device. */
export interface Expectation {
  readonly deviceId: string;
  readonly sent: number;
  /** At least these are counted; exactly those sent, unless it is `uncertain` what became of the others. */
  readonly acknowledged: number;
  readonly uncertain: boolean;
  /** Packets that the store itself lost, or a gateway's file, and that nobody has sent again: at least and at most. */
  readonly gone: { readonly least: number; readonly most: number };
  /** Greatest timestamp sent, when that is known. */
  readonly timestampMs?: number;
}

/**
 * A device whose calls all ended well must have what it sent, without what the store itself lost; where one did
 * not, it may have been stored.
 */
export function difference({ sent, acknowledged, uncertain, gone }: Expectation, counted: number) {
  const missing = Math.max(0, (uncertain ? acknowledged : sent) - counted);
  return {
    gone: Math.min(missing, gone.most),
    lost: Math.max(0, missing - gone.most),
    double: Math.max(0, counted - (sent - gone.least)),
  };
}

/** What all clients have in common. */
export interface ChaosClient {
  readonly kind: string;
  /** Packets sent so far, and those of them that are known to be stored or rejected. */
  readonly sent: number;
  readonly settled: number;
  /** Packets sent so far that must be rejected. */
  readonly invalid: number;
  /** Sends until `ends`; resolves when all that was sent is settled, or soon after `giveUp`. */
  run(ends: AbortSignal, giveUp: AbortSignal): Promise<void>;
  /** `losses`: what the store itself lost. */
  expectations(losses: StoreLosses): Expectation[];
}

/** What a client needs. */
export interface ClientOptions {
  readonly name: string;
  /** Port on which an ingest, or what stands before it, takes connections. */
  readonly port: number;
  readonly access: ClientAccess;
  readonly random: Random;
  /** The store has shards, which may have packets of a session beyond its committed offset: these are duplicates too. */
  readonly isSharded: boolean;
  /** Told of what must not happen. */
  readonly violated: (what: string) => void;
}

/** No call of a client takes longer: an ingest that is stopped never answers. */
export const CALL_TIMEOUT_MS = 4000;

/** Someone whose packets are numbered, in a session that another stream may claim. */
export interface SessionClient extends ChaosClient {
  readonly name: string;
  readonly access: ClientAccess;
  readonly session: string;
  /** When a second stream last claimed the session, on the clock of `performance.now`. */
  intrudedAtMs: number;
  /** It may forget that packets are settled, and send them again. */
  readonly forgets: boolean;
  /** Packets that its file lost: stored before that, or never. */
  readonly lostInFile: readonly IndexRange[];
}

/** A claim that is not answered at once, because its ingest was stopped or cut off, has its effect within this time. */
const LATE_CLAIM_MS = 15_000;

/** Whether a claim at `atMs`, on the clock of `performance.now`, may have its effect only now. */
export function isRecent(atMs: number): boolean {
  return performance.now() - atMs < LATE_CLAIM_MS;
}

/** A device that speaks the protocol by hand: one call after the other, each sent again until it ends well. */
export class HandWrittenDevice implements SessionClient {
  readonly kind = "StreamPackets in a session";
  readonly forgets = false;
  readonly lostInFile = [];
  intrudedAtMs = -Infinity;
  #unansweredAtMs = -Infinity;
  readonly name: string;
  readonly session = crypto.randomUUID();
  sent = 0;
  settled = 0;

  constructor(readonly options: ClientOptions) {
    this.name = options.name;
  }

  get access(): ClientAccess {
    return this.options.access;
  }

  get invalid(): number {
    return scriptedRejections(this.sent);
  }

  async run(ends: AbortSignal, giveUp: AbortSignal): Promise<void> {
    const { random } = this.options;
    while (!ends.aborted) {
      this.sent += random.int(1, 200);
      await this.#call();
      await delay(random.int(0, 150));
    }
    while (this.settled < this.sent && !giveUp.aborted) {
      await this.#call();
      await delay(20);
    }
  }

  expectations(losses: StoreLosses): Expectation[] {
    return expectations(this, this.sent, losses);
  }

  /** Sends from the first packet it does not know to be settled. */
  async #call(): Promise<void> {
    const { port, access: { target, headers }, isSharded, violated } = this.options;
    const { settled: from, sent: to } = this;
    await using call = RawCall.session(target(port), this.session, from, undefined, headers);
    const timer = setTimeout(() => call.vanish(), CALL_TIMEOUT_MS);
    const packets = Array.from({ length: to - from }, (_, i) => scriptedPacket(this.name, from + i));
    const { code, details, ack } = await call.finish(...packets.map(framedPacket));
    clearTimeout(timer);
    if (code === status.OK && ack !== undefined) {
      const { stored, duplicates, rejected, committed } = ack;
      const known = Number(await call.committed) - from;
      const areKnown = isSharded ? duplicates >= known : duplicates === known;
      if (stored + duplicates + rejected !== to - from || !areKnown || committed !== to) {
        violated(`${this.name}: sent ${from} to ${to}, and got the Ack ${JSON.stringify(ack)}`);
      }
      this.settled = committed;
    } else if (code === status.INVALID_ARGUMENT || code === status.FAILED_PRECONDITION) {
      violated(`${this.name}: sent from ${from}, and was refused: ${details}`);
    } else if (code === status.ABORTED && !isRecent(Math.max(this.intrudedAtMs, this.#unansweredAtMs))) {
      violated(`${this.name}: nobody else has its session, and it got: ${details}`);
    }
    // It may still claim the session, late, and so end a later call.
    if (code !== status.OK && await call.committed === undefined) this.#unansweredAtMs = performance.now();
  }
}

/** A device without a session, which sends nothing twice: each call is a device of its own. */
export class AnonymousDevice implements ChaosClient {
  readonly kind = "StreamPackets without a session";
  readonly invalid = 0;
  sent = 0;
  settled = 0;
  readonly #calls: { deviceId: string; packets: number; acknowledged: boolean }[] = [];

  constructor(readonly options: ClientOptions) {}

  async run(ends: AbortSignal): Promise<void> {
    const { random } = this.options;
    while (!ends.aborted) {
      await this.call(this.options.port);
      await delay(random.int(0, 150));
    }
  }

  expectations(losses: StoreLosses): Expectation[] {
    return this.#calls.map(({ deviceId, packets, acknowledged }) => ({
      deviceId,
      sent: packets,
      acknowledged: acknowledged ? packets : 0,
      uncertain: !acknowledged,
      // A batch whose reply was lost is sent again.
      gone: { least: 0, most: Math.min(losses.ofDevice(deviceId), packets) },
    }));
  }

  /** One call to `port`; whether it was acknowledged. */
  async call(port: number): Promise<boolean> {
    const { name, access: { target, headers }, random, violated } = this.options;
    const deviceId = `${name}-call-${this.#calls.length}`;
    const packets = random.int(1, 50);
    const record = { deviceId, packets, acknowledged: false };
    this.#calls.push(record);
    this.sent += packets;
    await using call = new RawCall(target(port), undefined, headers);
    const timer = setTimeout(() => call.vanish(), CALL_TIMEOUT_MS);
    const packet = framedPacket({ device_id: deviceId, timestamp: 0, payload: new Uint8Array(20) });
    const { code, ack } = await call.finish(...Array.from({ length: packets }, () => packet));
    clearTimeout(timer);
    if (code !== status.OK || ack === undefined) return false;
    if (ack.stored !== packets) violated(`${deviceId}: sent ${packets}, got the Ack ${JSON.stringify(ack)}`);
    record.acknowledged = true;
    this.settled += packets;
    return true;
  }
}

/**
 * A second stream of `client`'s session claims it, sends what the client itself sends next, and ends or
 * vanishes. False: it was not given the session.
 */
export async function intrude(client: SessionClient, port: number, random: Random): Promise<boolean> {
  const { session, name, settled: from, access: { target, headers } } = client;
  const method = random.pick(["StreamPackets", "StreamBatches"]);
  client.intrudedAtMs = performance.now();
  await using call = RawCall.session(target(port), session, from, method, headers);
  const timer = setTimeout(() => call.vanish(), CALL_TIMEOUT_MS);
  const committed = await call.committed;
  if (committed !== undefined) {
    // Nothing but what the client has sent: it must recognise as its own whatever is settled.
    const to = Math.min(client.sent, Number(committed) + random.int(1, 300));
    const packets = Array.from({ length: Math.max(0, to - from) }, (_, i) => scriptedPacket(name, from + i));
    const messages = method === "StreamPackets" ? packets.map(framedPacket) : [framedBatch(packets)];
    if (random.chance(0.5)) await call.finish(...messages);
    else {
      void call.send(...messages);
      await delay(random.int(0, 200));
    }
  }
  clearTimeout(timer);
  return committed !== undefined;
}

/**
 * What must be found about the devices of a client, of whose packets `sent` were sent, or settled so far, or those of
 * them that `isOne` picks.
 */
export function expectations(
  { name, session, settled, forgets, lostInFile }: SessionClient,
  sent: number,
  losses: StoreLosses,
  isOne = (_index: number, _deviceId: string) => true,
): Expectation[] {
  const acknowledged = scriptedDevices(name, settled);
  const most = scriptedDevices(
    name,
    sent,
    (index, deviceId) =>
      isOne(index, deviceId) &&
      (losses.mayHaveLost(session, index, deviceId) ||
        lostInFile.some(({ from, to }) => index >= from && index < to)),
  );
  const least = forgets ? undefined : scriptedDevices(
    name,
    sent,
    (index, deviceId) => isOne(index, deviceId) && losses.hasLost(session, index, deviceId),
  );
  return Array.from(scriptedDevices(name, sent, isOne), ([deviceId, { packets, timestampMs }]) => ({
    deviceId,
    sent: packets,
    acknowledged: acknowledged.get(deviceId)?.packets ?? 0,
    uncertain: false,
    gone: { least: least?.get(deviceId)?.packets ?? 0, most: most.get(deviceId)?.packets ?? 0 },
    // The packet with the greatest may be gone.
    ...(most.get(deviceId)?.timestampMs === timestampMs ? {} : { timestampMs }),
  }));
}
