/**
 * A server that receives messages about incidents, in every form.
 *
 * @module
 */
import { createHmac } from "node:crypto";

/** A request that was received. */
export interface ReceivedMessage {
  readonly path: string;
  readonly headers: Headers;
  // Whatever the form has.
  // deno-lint-ignore no-explicit-any
  readonly body: any;
}

/** Keeps each request; the path `/hook` has to be signed. */
export class AlertReceiver implements AsyncDisposable {
  readonly secret = new TextEncoder().encode("a key of at least 24 bytes");
  readonly received: ReceivedMessage[] = [];
  /** The response to the next requests. */
  answer: (message: ReceivedMessage) => Response | Promise<Response> = () =>
    new Response(null, { status: 204 });
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  /** Listens. */
  constructor() {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      const text = await request.text();
      const { headers } = request;
      const path = new URL(request.url).pathname;
      if (path === "/hook") {
        const signed = `${headers.get("webhook-id")}.${headers.get("webhook-timestamp")}.${text}`;
        const expected = createHmac("sha256", this.secret).update(signed).digest("base64");
        if (headers.get("webhook-signature") !== `v1,${expected}`) return new Response(null, { status: 400 });
      }
      const message = { path, headers, body: JSON.parse(text) };
      this.received.push(message);
      return await this.answer(message);
    });
  }

  /** Where it listens. */
  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** For an api: all channels lead here. */
  get channels() {
    return {
      webhook: { url: `${this.url}/hook`, secret: this.secret },
      slackUrl: `${this.url}/slack`,
      ntfyUrl: `${this.url}/topic`,
      alertmanagerUrl: `${this.url}/am/`,
    };
  }

  /** Of the webhook, about incidents: `<kind> <incident> <devices>`, those of the same `webhook-id` once. */
  get incidents(): string[] {
    const byId = new Map(
      this.received.filter(({ path, body }) => path === "/hook" && body.type.startsWith("incident."))
        .map(({ headers, body }) => [headers.get("webhook-id"), body]),
    );
    return [...byId.values()].map(({ type, data: { incident } }) =>
      `${type.slice("incident.".length)} ${incident.rule_name} ${incident.devices}`
    );
  }

  async [Symbol.asyncDispose]() {
    await this.#server.shutdown();
  }
}
