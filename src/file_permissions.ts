/**
 * Permissions for files outside of Tally's own folders: a task's permission set has only those.
 *
 * @module
 */
import { dirname, relative, resolve } from "node:path";

import project from "../deno.json" with { type: "json" };
import { type Config, configuredRedis, configuredWorkers, settings } from "./config/config.ts";
import { tlsFilePaths } from "./config/tls_settings.ts";

/** The folders of the permission sets; they are those of every role. */
const { read: readable, write: writable } = project.permissions.ingest;

/**
 * Throws when the permissions of the task do not include the files of the settings, with the command that
 * widens them; on a terminal Deno would ask for each of them.
 */
export function assertFilesAllowed(config: Config, args: readonly string[], program: string): void {
  const folder = databaseFolder(config);
  const folderAllowed = folder === undefined || (isGranted("read", folder) && isGranted("write", folder));
  const refused = filesRead(config).find((file) => !isGranted("read", file));
  if (folderAllowed && refused === undefined) return;
  const permissions = program.startsWith("src/credentials/")
    ? "credentials"
    : config.role === "api"
    ? "api"
    : configuredWorkers(config) > 1
    ? "workers"
    : "ingest";
  const command = ["deno", "run", `-P=${permissions}`, ...fileFlags(config), program]
    .concat(withoutSecrets(args)).map(shellWord).join(" ");
  throw new Error(
    `Cannot use ${folderAllowed ? refused : `SQLite file ${resolve(config.databasePath)}`}: ` +
      `found that the task may use the folder data only; start it with this allowed: ${command}`,
  );
}

/**
 * Flags that allow the files of the settings, if any lies outside of Tally's own folders. They replace the
 * paths of the permission set.
 */
export function fileFlags(config: Config): string[] {
  const database = databaseFolder(config);
  const folders = database === undefined ? [] : [database];
  const files = filesRead(config).map((file) => resolve(file));
  const isOutside = (path: string) => relative("data", path).startsWith("..");
  if (![...folders, ...files].some(isOutside)) return [];
  const list = (paths: readonly string[]) => paths.map((path) => path.replaceAll(",", ",,")).join(",");
  return [
    `--allow-read=${list([...readable, ...folders, ...files])}`,
    `--allow-write=${list([...writable, ...folders])}`,
  ];
}

/** Files that are only read. */
function filesRead(config: Config): string[] {
  const { redisTlsCa, deviceJwks } = config;
  return [redisTlsCa, deviceJwks, ...tlsFilePaths(config)]
    .filter((file) => file !== undefined && !/^https?:/i.test(file)) as string[];
}

/** Folder of the SQLite file; undefined with Redis. */
function databaseFolder(config: Config): string | undefined {
  return configuredRedis(config) === undefined ? dirname(resolve(config.databasePath)) : undefined;
}

function isGranted(name: "read" | "write", path: string): boolean {
  return Deno.permissions.querySync({ name, path }).state === "granted";
}

/** Arguments as they may be shown: the user puts a password in again. */
function withoutSecrets(args: readonly string[]): string[] {
  const secret = Object.values(settings).filter(({ secret }) => secret).map(({ flag }) => `--${flag}`);
  return args.map((arg, i) => {
    if (secret.includes(args[i - 1] ?? "")) return "...";
    const [flag = ""] = arg.split("=", 1);
    return secret.includes(flag) && flag !== arg ? `${flag}=...` : arg;
  });
}

function shellWord(text: string): string {
  return /^[\w.,/:=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
