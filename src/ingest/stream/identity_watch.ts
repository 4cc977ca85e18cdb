/**
 * Open streams whose identity expires or is revoked: they end UNAUTHENTICATED, once what they sent is settled.
 *
 * @module
 */
import type { AuthError } from "../../identity/auth_error.ts";
import type { DeviceAuthenticator } from "../../identity/device_authenticator.ts";
import { nextTurn } from "../../runtime/next_turn.ts";
import { StoreError } from "../../store/store_error.ts";
import type { IngestState, OpenStream } from "./ingest_state.ts";

/** How often identities are verified again: two of it, and the store's time, pass at most until a stream ends. */
const CHECK_INTERVAL_MS = 1000;

/** Streams that end in one turn of the event loop. */
const STREAMS_PER_TURN = 200;

/** Verifies the identities of open streams again each second; returns the function that stops it. */
export function watchIdentities(
  { streams }: Pick<IngestState, "streams">,
  authenticator: DeviceAuthenticator,
  ended: (error: AuthError) => void,
): () => Promise<void> {
  let checking: Promise<void> | undefined;
  const check = async () => {
    try {
      await authenticator.refresh();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error; // It is logged where packets are stored.
    }
    const found = authenticator.ended(identitiesOf(streams));
    if (found.size > 0) await endStreams(streams, found, ended);
  };
  const timer = setInterval(
    () => checking ??= check().finally(() => checking = undefined),
    CHECK_INTERVAL_MS,
  );
  return async () => {
    clearInterval(timer);
    await checking;
    await authenticator.close();
  };
}

function identitiesOf(streams: ReadonlySet<OpenStream>) {
  const identities = new Set<OpenStream["context"]["identity"]>();
  for (const { context } of streams) identities.add(context.identity);
  return identities;
}

async function endStreams(
  streams: ReadonlySet<OpenStream>,
  found: ReturnType<DeviceAuthenticator["ended"]>,
  ended: (error: AuthError) => void,
): Promise<void> {
  const ending = [...streams].filter(({ context }) => found.has(context.identity));
  for (const [index, stream] of ending.entries()) {
    if (index > 0 && index % STREAMS_PER_TURN === 0) await nextTurn();
    if (!streams.has(stream)) continue;
    const error = found.get(stream.context.identity)!;
    ended(error);
    stream.fail(error);
  }
}
