/**
 * The engine of `Deno.serve`, for single connections; see `http_server.ts`.
 *
 * @module
 */

/** What serves one connection. */
export type ConnectionServer = Pick<Deno.HttpServer, "finished" | "shutdown">;

/** Deno's function, as far as it is used here. */
export type ServeConnection = (
  connection: Deno.Conn,
  signal: AbortSignal,
  handler: (request: Request, info: Deno.ServeHandlerInfo) => Response | Promise<Response>,
  onError: (error: unknown) => Response,
  onListen: () => void,
) => Deno.HttpServer;

const { internal } = Deno as unknown as { internal: symbol };
/** Serves a connection that was accepted; undefined where this Deno cannot. */
export const serveConnection: ServeConnection | undefined =
  (Deno as unknown as Record<symbol, { serveHttpOnConnection?: ServeConnection }>)[internal]
    ?.serveHttpOnConnection;

/** Whether this Deno can serve a single connection; if not, `PlainHttpServer` serves. */
export const servesConnections = serveConnection !== undefined;
