/**
 * Where a Redis is: the URL that names it, and its parts.
 *
 * @module
 */
import { formatAddress } from "../../runtime/address.ts";

/**
 * `redis://[user:password@]host[:port][/database]`, or, with sentinels that name the master,
 * `redis+sentinel://[user:password@]host[:port],…/master[/database]`, or, with nodes of a Redis Cluster,
 * `redis+cluster://[user:password@]host[:port],…`; `rediss` instead of `redis` for TLS; user and password
 * percent-encoded. Or host and port.
 */
export type RedisUrl = string | Endpoint;

/** Host and port. */
export interface Endpoint {
  /** Name or IP address. */
  readonly host: string;
  /** TCP port. */
  readonly port: number;
}

/** Parts of a {@linkcode RedisUrl}. */
export interface RedisTarget {
  /** The server, or its sentinels, or nodes of the cluster: at least one. */
  readonly endpoints: readonly Endpoint[];
  /** Name by which the sentinels know the master; undefined without sentinels. */
  readonly master?: string | undefined;
  /** Whether it is a Redis Cluster. */
  readonly cluster: boolean;
  /** User; undefined: the default user. */
  readonly username?: string | undefined;
  /** Password; undefined: none. */
  readonly password?: string | undefined;
  /** Number of the database. */
  readonly database: number;
  /** Whether connections are encrypted, those to sentinels and all nodes too. */
  readonly tls: boolean;
}

const REDIS_PORT = 6379, SENTINEL_PORT = 26_379;

/** Stricter than a URL need be: with an unescaped `#` or `/` a part of the password would become the host. */
const USER = String
  .raw`(?:(?<user>(?:[^\s:/?#@%]|%[0-9a-f]{2})*)(?::(?<password>(?:[^\s/?#@%]|%[0-9a-f]{2})*))?@)?`;
const ENDPOINT = String.raw`(?:[^\s:/?#@%[\],]+|\[[0-9a-f:.]+\])(?::\d+)?`;
const DATABASE = String.raw`(?:/(?<database>\d*))?$`;
const serverUrl = new RegExp(`^redis(?<tls>s?)://${USER}(?<hosts>${ENDPOINT})${DATABASE}`, "i");
const sentinelUrl = new RegExp(
  String
    .raw`^redis(?<tls>s?)\+sentinel://${USER}(?<hosts>${ENDPOINT}(?:,${ENDPOINT})*)/(?<master>[\w.-]+)${DATABASE}`,
  "i",
);
const clusterUrl = new RegExp(
  String.raw`^redis(?<tls>s?)(?<cluster>\+cluster)://${USER}(?<hosts>${ENDPOINT}(?:,${ENDPOINT})*)/?$`,
  "i",
);

/** The parts of `url`; undefined if it has none of the forms of {@linkcode RedisUrl}. */
export function parseRedisUrl(url: RedisUrl): RedisTarget | undefined {
  if (typeof url !== "string") return { endpoints: [url], cluster: false, database: 0, tls: false };
  const { groups } = serverUrl.exec(url) ?? sentinelUrl.exec(url) ?? clusterUrl.exec(url) ?? {};
  if (groups === undefined) return undefined;
  const { user, password, hosts, master, cluster, database, tls } = groups;
  const defaultPort = master === undefined ? REDIS_PORT : SENTINEL_PORT;
  const endpoints = hosts!.split(",").map((text) => parseEndpoint(text, defaultPort));
  if (!endpoints.every((endpoint) => endpoint !== undefined)) return undefined;
  try {
    return {
      endpoints,
      master,
      cluster: cluster !== undefined,
      username: user ? decodeURIComponent(user) : undefined,
      password: password ? decodeURIComponent(password) : undefined,
      database: Number(database ?? 0),
      tls: tls !== "",
    };
  } catch {
    return undefined; // Not UTF-8.
  }
}

/** `host[:port]`, an IPv6 address in brackets; undefined if it is none. */
export function parseEndpoint(text: string, defaultPort: number): Endpoint | undefined {
  const url = URL.parse(`redis://${text}`);
  if (url === null || url.hostname === "") return undefined;
  return { host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port || defaultPort) };
}

/** For logs and errors: where it is, without credentials. */
export function formatTarget({ endpoints, master, cluster, database }: RedisTarget): string {
  const addresses = endpoints.map(({ host, port }) => formatAddress(host, port)).join(", ");
  if (cluster) return `cluster ${addresses}`;
  const server = master === undefined ? addresses : `master ${master} of sentinels ${addresses}`;
  return database > 0 ? `${server} database ${database}` : server;
}
