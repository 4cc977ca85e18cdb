/**
 * Kinds of settings that only Tally has: URLs, keys, names and words with a form of their own.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { formatAddress } from "../runtime/address.ts";
import type { Kind } from "../runtime/settings.ts";
import { isTagKey } from "../store/labels.ts";
import type { AckAfter } from "../store/packets.ts";
import type { NatMap } from "../store/redis/cluster_slots.ts";
import { type Endpoint, parseEndpoint, parseRedisUrl } from "../store/redis/redis_url.ts";

/** URL of a Redis; may hold a password. */
export const redisUrlKind: Kind<string> = {
  allowed: "redis://[user:password@]host[:port][/database], or rediss:// for TLS, or with sentinels " +
    "redis+sentinel://[user:password@]host[:port],…/master[/database], or nodes of a cluster " +
    "redis+cluster://[user:password@]host[:port],…; " +
    "percent-encode # / ? @ % and spaces in user and password",
  secret: true,
  parse: (text) => parseRedisUrl(text) === undefined ? undefined : text,
};

/** Addresses that stand for others. */
export const natMapKind: Kind<NatMap> = {
  allowed: "announced=reached with commas between them, as in 10.0.0.1:6379=redis-1.example.com:6379",
  parse: parseNatMap,
};

/** A password. */
export const secretKind: Kind<string> = {
  allowed: "a text that is not empty",
  secret: true,
  parse: (text) => text === "" ? undefined : text,
};

/** When packets are acknowledged. */
export const ackAfterKind: Kind<AckAfter> = {
  allowed: "stored, replicated:N with N from 1 to 100, synced",
  parse: parseAckAfter,
};

/** A switch. */
export const onOffKind: Kind<boolean> = {
  allowed: "on, off",
  parse: (text) => text === "on" ? true : text === "off" ? false : undefined,
};

/** A message in a .proto file. */
export const payloadProtoKind: Kind<{ readonly path: string; readonly message: string }> = {
  allowed: "path of a .proto file, a colon and the name of a message, as in data/sensor.proto:acme.Reading",
  parse(text) {
    const [, path, message] = /^(.+):([A-Za-z_][\w.]*)$/.exec(text) ?? [];
    return path === undefined || message === undefined ? undefined : { path, message };
  },
};

/** Host names of HTTP requests. */
export const hostNamesKind: Kind<readonly string[]> = {
  allowed: "names with commas between them; *.example.com for all below one, * for any",
  parse: parseHostNames,
};

/** Keys of tags, of which no two give the same label of Prometheus. */
export const tagKeysKind: Kind<readonly string[]> = {
  allowed: "keys of tags with commas between them",
  parse: parseTagKeys,
};

/** URL of a webhook; tokens are often part of it. */
export const webhookUrlKind: Kind<string> = {
  allowed: "an http or https URL",
  secret: true,
  parse: (text) => /^https?:$/.test(URL.parse(text)?.protocol ?? "") ? text : undefined,
};

/** Where the page is reached. */
export const publicUrlKind: Kind<string> = {
  allowed: "an http or https URL without a query",
  parse: (text) => {
    const url = URL.parse(text);
    const isPlain = url !== null && /^https?:$/.test(url.protocol) &&
      url.search + url.hash + url.username === "";
    return isPlain ? text : undefined;
  },
};

/** Key of Standard Webhooks, as bytes. */
export const webhookKeyKind: Kind<Uint8Array> = {
  allowed: "whsec_ and 24 to 64 bytes in base64, as in whsec_$(openssl rand -base64 32)",
  secret: true,
  parse: parseWebhookKey,
};

function parseHostNames(text: string): readonly string[] | undefined {
  const names = text.split(",").map((name) => name.trim()).filter((name) => name !== "");
  const isName = (name: string) => /^(\*|(\*\.)?[\w-]+(\.[\w-]+)*)$/.test(name);
  return names.length > 0 && names.every(isName) ? names : undefined;
}

function parseTagKeys(text: string): readonly string[] | undefined {
  const keys = text.split(",").map((key) => key.trim());
  const isDistinct = new Set(keys.map((key) => key.replace(/[.-]/g, "_"))).size === keys.length;
  return isDistinct && keys.every(isTagKey) ? keys : undefined;
}

function parseWebhookKey(text: string): Uint8Array | undefined {
  const base64 = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text)?.[1];
  if (base64 === undefined) return undefined;
  const bytes = Uint8Array.from(Buffer.from(base64, "base64"));
  return bytes.length >= 24 && bytes.length <= 64 ? bytes : undefined;
}

function parseNatMap(text: string): NatMap | undefined {
  const pairs = text.split(",").map((pair) => pair.trim().split("=").map((side) => parseEndpoint(side, 0)));
  const map = new Map<string, Endpoint>();
  for (const [announced, reached, ...others] of pairs) {
    if (!announced?.port || !reached?.port || others.length > 0) return undefined;
    map.set(formatAddress(announced.host, announced.port), reached);
  }
  return map;
}

function parseAckAfter(text: string): AckAfter | undefined {
  if (text === "stored" || text === "synced") return { kind: text };
  const replicas = Number(/^replicated:(\d+)$/.exec(text)?.[1]);
  return replicas >= 1 && replicas <= 100 ? { kind: "replicated", replicas } : undefined;
}
