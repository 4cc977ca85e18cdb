/**
 * `deno task send`: sends packets from one device, waits until they are stored, and prints the Ack.
 *
 * Exit codes: 0 when every packet was stored, 1 when not, or when damage to the file leaves it open, 2 for
 * wrong flags, 129, 130 or 143 after a signal.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { type Recovery, TelemetryClient, type Totals } from "../client/client.ts";
import { isSessionName, SESSION_NAME_RULE } from "../protocol/field_limits.ts";
import { messageOf } from "../runtime/error_text.ts";
import { custom, duration, integer, optional, path, type Values } from "../runtime/settings.ts";
import {
  formatted,
  keepAckedFlag,
  packets,
  rateFlag,
  readFlags,
  targetFlag,
  tokenFlags,
  tokenOption,
  tokenProblems,
} from "./command_line.ts";
import { tlsFlags, tlsOption, tlsProblems } from "./tls_flags.ts";

const usage = `Sends packets from one device to Tally and prints the Ack.

Usage: deno task send [flags]`;

const flags = {
  device: custom("--device", {
    default: "sensor-1",
    help: "The packets' device_id.",
  }, { allowed: "any text", parse: (text) => text }),
  count: integer("--count", {
    default: "10",
    min: "0",
    max: "1000000000000",
    help: "How many packets to send.",
  }),
  rate: optional(rateFlag("--rate", {
    default: "",
    help: "Packets per second; by default as fast as Tally reads them.",
  })),
  target: targetFlag,
  ...tokenFlags,
  ...tlsFlags,
  payload: custom("--payload", {
    default: "abcd",
    help: "The packets' payload, as text.",
  }, { allowed: "any text", parse: (text) => text }),
  session: optional(custom("--session", {
    default: "",
    help: "Session to continue; by default a new one. Not together with --file.",
  }, {
    allowed: SESSION_NAME_RULE,
    parse: (text) => isSessionName(text) ? text : undefined,
  })),
  file: optional(path("--file", {
    default: "",
    help: "File that keeps packets until they are stored. The next run with it sends the rest first. " +
      "The task may use paths below data/.",
  })),
  keepAcked: keepAckedFlag,
  timeoutMs: duration("--timeout", {
    default: "30s",
    min: "100ms",
    max: "24h",
    help: "Time without an Ack after which it stops.",
  }),
} as const;

/** Intervals of printing the progress, and of checking that there is any. */
const PROGRESS_INTERVAL_MS = 1000, CHECK_INTERVAL_MS = 100;

async function main(args: readonly string[]): Promise<number> {
  const options = readFlags(usage, flags, args, (result) => {
    const { session, file } = result.source;
    const problems = [...tokenProblems(result), ...tlsProblems(result)];
    if (session === undefined || file === undefined) return problems;
    return [...problems, `${session} and ${file}: a file has a session of its own; set one of them`];
  });
  if (typeof options === "number") return options;
  try {
    return await send(options);
  } catch (error) {
    console.error(messageOf(error));
    return 1;
  }
}

async function send(options: Values<typeof flags>): Promise<number> {
  let lastError: string | undefined;
  await using client = await TelemetryClient.open({
    target: options.target,
    ...tokenOption(options),
    ...tlsOption(options),
    ...options.session === undefined ? {} : { session: options.session },
    ...options.file === undefined ? {} : { file: options.file },
    ...options.keepAcked === undefined ? {} : { keepAcked: options.keepAcked },
    onConnected: () => lastError = undefined,
    onDisconnected: (error) => lastError = error.message,
  });
  const { recovered } = client;
  for (const line of recoveryLines(recovered, options.file)) console.error(line);
  const total = client.totals.accepted + options.count;
  const progressText = () => {
    const { accepted, pending } = client.totals;
    const why = lastError === undefined ? "" : `; not connected: ${lastError}`;
    return `${formatted(accepted)} of ${packets(total)} sent, ${
      formatted(accepted - pending)
    } acknowledged${why}`;
  };
  const failureText = () => {
    const kept = options.file === undefined
      ? "they are not stored, or their Ack was lost"
      : `they are kept in ${options.file}: send with the same --file again`;
    return `Nothing was acknowledged for ${options.timeoutMs / 1000} s by ${options.target}` +
      `${lastError === undefined ? "" : `; the last attempt: ${lastError}`}.\n` +
      `${packets(client.totals.pending)} not acknowledged; ${kept}.\n` +
      `Start Tally with "deno task start", or set its address with --target; for a port with TLS, pass --ca or --tls.`;
  };
  const stopWatching = watch(client, options.timeoutMs, progressText, failureText);
  try {
    await sendPackets(client, options);
    const code = report(await client.close());
    return recovered.damage?.maybeMore ? 1 : code;
  } finally {
    stopWatching();
  }
}

/** Describes the packets that an earlier run left in `file`. */
function recoveryLines({ packets: kept, tornBytes, lostPackets, damage }: Recovery, file = ""): string[] {
  const lines = [];
  if (damage !== undefined) {
    lines.push(
      `${file} was damaged: ${packets(kept)} could be read, ${packets(lostPackets)} could not` +
        `${damage.maybeMore ? ", and perhaps more" : ""}; ` +
        `${formatted(damage.bytes)} damaged bytes are set aside in ${damage.file}`,
    );
  } else if (lostPackets > 0) {
    lines.push(`${packets(lostPackets)} in ${file} were lost to damage found earlier`);
  }
  if (tornBytes > 0) {
    lines.push(`${file} ended in a write that was cut short: ${formatted(tornBytes)} bytes were left out`);
  }
  if (kept > 0) lines.push(`${packets(kept)} of an earlier run left in ${file}: sending them first`);
  return lines;
}

async function sendPackets(client: TelemetryClient, options: Values<typeof flags>): Promise<void> {
  const payload = new TextEncoder().encode(options.payload);
  const startedAtMs = performance.now();
  for (let index = 0; index < options.count; index++) {
    const dueInMs = options.rate === undefined
      ? 0
      : startedAtMs + index / options.rate * 1000 - performance.now();
    if (dueInMs > 0) await delay(dueInMs);
    await client.send({ device_id: options.device, timestamp: Math.floor(Date.now() / 1000), payload });
  }
}

/** Prints the progress, and aborts when there is none for `timeoutMs`; returns a function that ends it. */
function watch(
  client: TelemetryClient,
  timeoutMs: number,
  progressText: () => string,
  failureText: () => string,
): () => void {
  let settled = 0, settledAtMs = performance.now(), shownAtMs = settledAtMs;
  const timer = setInterval(() => {
    const { accepted, pending } = client.totals;
    const nowMs = performance.now();
    if (pending === 0 || accepted - pending > settled) {
      settled = accepted - pending;
      settledAtMs = nowMs;
    } else if (nowMs - settledAtMs >= timeoutMs) {
      client.abort(new Error(failureText()));
    }
    if (nowMs - shownAtMs >= PROGRESS_INTERVAL_MS) {
      shownAtMs = nowMs;
      console.error(progressText());
    }
  }, CHECK_INTERVAL_MS);
  return () => clearInterval(timer);
}

/** Prints the totals as an Ack; returns the exit code. */
function report(totals: Totals): number {
  const { stored, rejected, settledUnknown, rejections, committed, refilled, lost } = totals;
  console.log(
    `Ack: stored ${formatted(stored)}, rejected ${formatted(rejected)}, committed ${formatted(committed)}`,
  );
  if (settledUnknown > 0) {
    console.log(
      `${packets(settledUnknown)} more settled; their Ack was lost with a connection`,
    );
  }
  if (refilled > 0) console.log(`${packets(refilled)} sent again: the store had lost them`);
  if (lost > 0) console.error(`${packets(lost)} lost by the store after they were acknowledged`);
  for (const { reason, packets: count } of rejections) console.error(`${packets(count)} rejected: ${reason}`);
  return rejected + lost === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
