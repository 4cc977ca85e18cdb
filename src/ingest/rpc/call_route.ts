/**
 * Which calls are telemetry, which are served by grpc-js, and which are refused at once: the same responses whichever
 * path serves telemetry.
 *
 * @module
 */
import type { MessageGuard, MessageRefusal } from "../../http2/bridged_call.ts";
import type { Route } from "../../http2/call_admission.ts";
import type { Http2Counters } from "../../http2/counters.ts";
import { ENHANCE_YOUR_CALM, INTERNAL_ERROR } from "../../http2/frames.ts";
import type { PeerAddress } from "../../http2/grpc_js_bridge.ts";
import type { HeaderField } from "../../http2/hpack/tables.ts";
import type { Http2Stream } from "../../http2/stream.ts";
import { healthService } from "../../protocol/health_proto.ts";
import { RequestError } from "../../protocol/request_error.ts";
import { SERVICE_NAMES } from "../../protocol/telemetry_proto.ts";
import { CallContext, type Peer, readMetadata } from "../stream/call_context.ts";
import type { StreamKind } from "../stream/device_stream.ts";
import { type IngestState, streamRefusal } from "../stream/ingest_state.ts";
import { AwaitedCall } from "./awaited_call.ts";
import type { BridgedContexts } from "./bridged_contexts.ts";
import type { CallerCheck } from "./caller_check.ts";
import { trailersOnly, valueOf } from "./grpc_fields.ts";
import { type Encoding, unexpectedlyCompressed } from "./inflater.ts";
import { type MessageMemory, SMALL_MESSAGE_BYTES, tooManyLargeMessages } from "./message_memory.ts";
import { reflectionPaths } from "./reflection.ts";
import { type HttpRefusal, RefusedRequests } from "./refused_requests.ts";

/** A telemetry call, as its headers describe it. */
export interface TelemetryCall {
  /** Which of the two. */
  readonly kind: StreamKind;
  /** Its peer and metadata. */
  readonly context: CallContext;
  /** How its messages are compressed; undefined: not at all. */
  readonly encoding: Encoding | undefined;
  /** The deadline that the caller has set, ms from now. */
  readonly timeoutMs: number | undefined;
}

/** What {@linkcode routeCalls} needs. */
export interface RouteOptions {
  /** The open streams, and whether more are accepted. */
  readonly ingest: IngestState;
  /** Serves telemetry in this process. */
  readonly receive: (stream: Http2Stream, call: TelemetryCall) => void;
  /** True: it serves all telemetry; false: only compressed telemetry, since grpc-js serves the rest. */
  readonly fastPath: boolean;
  /** Memory for large messages. */
  readonly memory: MessageMemory;
  /** Whether callers may read which services there are; with credentials, where they are required. */
  readonly reflection: boolean;
  /** Verifies callers of telemetry and of reflection. */
  readonly callers: CallerCheck;
  /** Passes the contexts of these calls to grpc-js. */
  readonly bridged: BridgedContexts;
  /** How many calls grpc-js serves now. */
  readonly counters: Http2Counters;
}

const telemetryKinds = new Map<string, StreamKind>(SERVICE_NAMES.flatMap((service) => [
  [`/${service}/StreamPackets`, "packets"],
  [`/${service}/StreamBatches`, "batches"],
]));

/** Calls that grpc-js always serves. */
const healthPaths = new Set(Object.values(healthService).map(({ path }) => path));

/** Such calls open at once in the process: a watch for each load balancer, and some more. */
const MAX_BRIDGED_CALLS = 1000;

/** Their messages are a service's name, or that of something in a proto; compressed, so little that it inflates to 132 KB at the most. */
export const MAX_BRIDGED_MESSAGE_BYTES = 4096;
const MAX_COMPRESSED_BRIDGED_MESSAGE_BYTES = 128;

/** Units of grpc-timeout, ms. */
const TIMEOUT_UNITS_MS: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Longest delay of a timer; a later deadline is none. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const notPost: HttpRefusal = {
  status: "405",
  text: "This port serves gRPC: use POST.\n",
  more: [["allow", "POST"]],
};
const notGrpc: HttpRefusal = {
  status: "415",
  text: "This port serves gRPC: use content-type application/grpc.\n",
};

/** Returns the function that chooses the {@linkcode Route} of a call. */
export function routeCalls(
  options: RouteOptions,
): (headers: readonly HeaderField[], peer: PeerAddress & Peer) => Route {
  const { ingest, receive, fastPath, memory, callers, bridged, counters, reflection } = options;
  const refused = new RefusedRequests();
  return (headers, peer) => {
    const notServed = httpRefusal(headers);
    if (notServed !== undefined) return refused.route(notServed);
    const path = valueOf(headers, ":path")!, kind = telemetryKinds.get(path);
    try {
      const timeoutMs = parseTimeout(valueOf(headers, "grpc-timeout"));
      const encoding = parseEncoding(valueOf(headers, "grpc-encoding"));
      const forwarded = timeoutMs === undefined
        ? headers.filter(([name]) => name !== "grpc-timeout")
        : headers;
      if (kind === undefined) {
        assertBridged(path, counters, reflection);
        if (healthPaths.has(path)) return { bridge: forwarded, guard: new SmallMessages() };
        const call = bridged.add(forwarded, contextOf(headers, peer, callers));
        return { bridge: call.headers, guard: new SmallMessages(call.remove) };
      }
      const refusal = streamRefusal(ingest, ingest.accounts.of(peer, ""));
      if (refusal !== undefined) return { response: trailersOnly(refusal) };
      const context = contextOf(headers, peer, callers);
      if (!fastPath && encoding === undefined) {
        const { headers, remove } = bridged.add(forwarded, context);
        return { bridge: headers, guard: new PlainMessages(memory, peer, remove) };
      }
      if (!(context instanceof Promise)) {
        return { handler: (stream) => receive(stream, { kind, context, encoding, timeoutMs }) };
      }
      return {
        handler: (stream) => {
          const call = new AwaitedCall(stream);
          context.then(
            (context) => call.accept((stream) => receive(stream, { kind, context, encoding, timeoutMs })),
            (error) => call.refuse(error),
          );
        },
      };
    } catch (error) {
      return { response: trailersOnly(error) };
    }
  };
}

/** Throws, or rejects, where the caller is refused. */
function contextOf(
  headers: readonly HeaderField[],
  peer: Peer,
  callers: CallerCheck,
): CallContext | Promise<CallContext> {
  const metadata = readMetadata((key) => valueOf(headers, key));
  const caller = callers.identify(valueOf(headers, "authorization"), peer);
  return caller instanceof Promise
    ? caller.then((identity) => new CallContext(peer, metadata, identity))
    : new CallContext(peer, metadata, caller);
}

/** The response to a request that is not gRPC at all. */
function httpRefusal(headers: readonly HeaderField[]): HttpRefusal | undefined {
  if (valueOf(headers, ":method") !== "POST") return notPost;
  // As gRPC has it: followed by nothing, or by a format or parameters.
  return /^application\/grpc($|[+;])/.test(valueOf(headers, "content-type") ?? "") ? undefined : notGrpc;
}

function parseTimeout(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(text) ?? [];
  if (digits === undefined) {
    throw new RequestError(
      "INTERNAL",
      "grpc-timeout is malformed: expected up to 8 digits and one of H, M, S, m, u, n",
    );
  }
  const timeoutMs = Number(digits) * TIMEOUT_UNITS_MS[unit!]!;
  return timeoutMs > MAX_TIMER_MS ? undefined : timeoutMs;
}

function parseEncoding(text: string | undefined): Encoding | undefined {
  if (text === undefined || text === "identity") return undefined;
  if (text === "gzip" || text === "deflate") return text;
  throw new RequestError("UNIMPLEMENTED", "grpc-encoding is not served: use identity, deflate or gzip");
}

function assertBridged(path: string, counters: Http2Counters, reflection: boolean): void {
  if (!healthPaths.has(path) && !(reflection && reflectionPaths.has(path))) {
    throw new RequestError("UNIMPLEMENTED", `The server does not implement the method ${path.slice(0, 200)}`);
  }
  if (counters.bridgedCalls >= MAX_BRIDGED_CALLS) {
    throw new RequestError(
      "RESOURCE_EXHAUSTED",
      `${MAX_BRIDGED_CALLS} health and reflection calls are open: try again later`,
    );
  }
}

const tooLarge: MessageRefusal = {
  response: trailersOnly(
    new RequestError("RESOURCE_EXHAUSTED", "a message that is larger than any message of this service"),
  ),
  code: ENHANCE_YOUR_CALM,
};
const noMemory: MessageRefusal = { response: trailersOnly(tooManyLargeMessages()), code: ENHANCE_YOUR_CALM };
const compressedWithoutEncoding: MessageRefusal = {
  response: trailersOnly(unexpectedlyCompressed()),
  code: INTERNAL_ERROR,
};

/** For the calls that grpc-js always serves. */
class SmallMessages implements MessageGuard {
  /** `closed`: called when the call has ended. */
  constructor(readonly closed: () => void = () => {}) {}

  begin(compressed: boolean, bytes: number): MessageRefusal | undefined {
    const maxBytes = compressed ? MAX_COMPRESSED_BRIDGED_MESSAGE_BYTES : MAX_BRIDGED_MESSAGE_BYTES;
    return bytes > maxBytes ? tooLarge : undefined;
  }
  complete(): void {}
  close(): void {
    this.closed();
  }
}

/** For telemetry that grpc-js serves: never compressed, and within the memory for messages. */
class PlainMessages implements MessageGuard {
  #reservedBytes = 0;

  constructor(readonly memory: MessageMemory, readonly connection: object, readonly ended: () => void) {}

  begin(compressed: boolean, bytes: number): MessageRefusal | undefined {
    if (compressed) return compressedWithoutEncoding;
    // grpc-js refuses what is above its limit by itself.
    if (bytes <= SMALL_MESSAGE_BYTES || bytes > this.memory.maxMessageBytes) return undefined;
    if (!this.memory.reserve(this.connection, bytes)) return noMemory;
    this.#reservedBytes = bytes;
    return undefined;
  }

  close(): void {
    this.complete();
    this.ended();
  }

  complete(): void {
    if (this.#reservedBytes > 0) this.memory.release(this.connection, this.#reservedBytes);
    this.#reservedBytes = 0;
  }
}
