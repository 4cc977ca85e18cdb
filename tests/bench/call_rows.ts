/**
 * What is measured with calls one after the other: how long a device waits for its Ack, and how fast bodies are.
 *
 * @module
 */
import type { Calls, CallsResult } from "./calls.ts";
import { Child } from "./child.ts";
import type { BenchOptions, SectionPlan } from "./rows.ts";
import { startSubject, type SubjectKind } from "./subject.ts";
import { type Figure, quantile, type Row } from "./table.ts";

type Shape = Pick<Calls, "connections" | "packetsPerCall">;

const DEVICES = 1000;

const kinds: readonly (readonly [SubjectKind, string])[] = [
  ["plain", "plain grpc-js, Redis"],
  ["tally-redis", "Tally, Redis"],
  ["tally-sqlite", "Tally, SQLite"],
];

/** The figures of each kind, and of the peer if there is one, which are loaded in turn, round after round. */
async function compareCalls(
  shape: Shape,
  figuresOf: (results: readonly CallsResult[], column: string, wrong?: string) => Record<string, Figure>,
  { runs, runMs, warmUpMs, hasRedis, peer }: BenchOptions,
): Promise<Row["figures"]> {
  await using parts = new AsyncDisposableStack();
  const child = parts.use(Child.start("./calls_process.ts"));
  const compared = [];
  for (const [kind, column] of kinds) {
    if (!hasRedis && kind !== "tally-sqlite") continue;
    compared.push({ column, subject: parts.use(await startSubject(kind, 1)), results: [] as CallsResult[] });
  }
  if (hasRedis && peer !== undefined) {
    const subject = parts.use(await startSubject("peer", 1, { command: peer }));
    compared.push({ column: "peer", subject, results: [] });
  }
  for (let run = -1; run < runs; run++) {
    for (const { subject: { port }, results } of compared) {
      const calls: Calls = { ...shape, port, devices: DEVICES, durationMs: run < 0 ? warmUpMs : runMs };
      results.push(await child.ask<CallsResult>(calls));
    }
  }
  const figures: Record<string, Figure> = {};
  for (const { column, subject, results } of compared) {
    const sent = results.reduce((sum, { packets }) => sum + packets, 0);
    const counted = (await subject.counted())?.packets;
    const wrong = results.flatMap(({ failures }) => failures)[0] ??
      (counted === sent ? undefined : `the store holds ${counted} packets, sent were ${sent}`);
    Object.assign(figures, figuresOf(results.slice(1), column, wrong)); // without the warm-up
  }
  return figures;
}

function waits(results: readonly CallsResult[], column: string, wrong?: string): Record<string, Figure> {
  const ms = (share: number): Figure => ({
    values: results.map(({ latenciesMs }) => quantile(latenciesMs, share)),
    unit: "ms",
    wrong,
  });
  return { [`${column}: p50`]: ms(0.5), [`${column}: p99`]: ms(0.99) };
}

function rates(results: readonly CallsResult[], column: string, wrong?: string): Record<string, Figure> {
  const values = results.map(({ packets, elapsedMs }) => packets / elapsedMs * 1000);
  return { [column]: { values, unit: "packets/s", wrong } };
}

/** How long a call takes. */
export const callLatency: SectionPlan = {
  title: "A call with one packet",
  about:
    "From the first byte of the call to its trailers with the Ack; each connection sends the next call then.",
  rows: [1, 16].map((connections) => ({
    name: `${connections} connection${connections === 1 ? "" : "s"}`,
    needsRedis: false,
    long: false,
    measure: (options) => compareCalls({ connections, packetsPerCall: 1 }, waits, options),
  })),
};

/** How fast bodies are that a sender sends one after the other. */
export const bodies: SectionPlan = {
  title: "Calls one after the other",
  about:
    "StreamPackets with 10,000 packets of 44 bytes of 1,000 devices in filled frames; each connection sends the " +
    "next call when it has the Ack.",
  rows: [1, 8].map((connections) => ({
    name: `${connections} connection${connections === 1 ? "" : "s"}`,
    needsRedis: false,
    long: false,
    measure: (options) => compareCalls({ connections, packetsPerCall: 10_000 }, rates, options),
  })),
};
