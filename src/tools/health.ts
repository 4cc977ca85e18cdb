/**
 * `deno task health`: requests the health of an ingest, for a container's health check for example.
 *
 * Exit codes: 0 when it reports SERVING, 1 for another status or without a response, 2 for wrong flags.
 *
 * @module
 */
import { Client, setLogger } from "@grpc/grpc-js";

import { channelSecurity } from "../client/channel_credentials.ts";
import type { ClientTls } from "../client/client_options.ts";
import { checkHealth, type HealthResponse, ServingStatus } from "../protocol/health_proto.ts";
import { messageOf } from "../runtime/error_text.ts";
import { grpcJsLogger } from "../runtime/grpc_js_log.ts";
import { guardHttp2 } from "../runtime/node_http2_guard.ts";
import { duration, type Values } from "../runtime/settings.ts";
import { readFlags, targetFlag } from "./command_line.ts";
import { tlsFlags, tlsOption, tlsProblems } from "./tls_flags.ts";

const usage = `Requests the health of an ingest (grpc.health.v1), prints its status, and exits
with 0 for SERVING.

Usage: deno task health [flags]`;

const flags = {
  target: { ...targetFlag, help: "Host and port of the ingest to check." },
  ...tlsFlags,
  timeoutMs: duration("--timeout", {
    default: "3s",
    min: "10ms",
    max: "1h",
    help: "Time for the response.",
  }),
} as const;

async function check(
  { target, timeoutMs }: Values<typeof flags>,
  tls: ClientTls | undefined,
): Promise<number> {
  setLogger(grpcJsLogger());
  guardHttp2();
  const client = new Client(target, ...channelSecurity(target, tls));
  try {
    const { path, requestSerialize, responseDeserialize } = checkHealth;
    const { status } = await new Promise<HealthResponse>((resolve, reject) => {
      const deadline = Date.now() + timeoutMs;
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        { service: "" },
        { deadline },
        (error, response) => error === null ? resolve(response!) : reject(error),
      );
    });
    console.log(ServingStatus[status] ?? `status ${status}`);
    return status === ServingStatus.SERVING ? 0 : 1;
  } catch (error) {
    console.error(`Cannot check the health of ${target}: found ${messageOf(error)}`);
    return 1;
  } finally {
    client.close();
  }
}

async function main(args: readonly string[]): Promise<number> {
  const options = readFlags(usage, flags, args, tlsProblems);
  if (typeof options === "number") return options;
  try {
    return await check(options, tlsOption(options).tls);
  } catch (error) {
    console.error(messageOf(error));
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
