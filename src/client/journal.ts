/**
 * A file that keeps packets until they are known to be settled, so that they are sent after a crash of the
 * process. It is append-only. `journal_format.ts` describes its bytes.
 *
 * A truncated record at the end is cut off: the process died while writing it, before a `send` of its packets
 * resolved. Other damaged bytes are moved to a file beside it, and the journal continues with what can be read.
 * Settled packets are removed by writing a new file and renaming it to the old one's name.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { basename, dirname } from "node:path";

import { messageOf } from "../runtime/error_text.ts";
import { type JournalContents, readJournal } from "./journal_contents.ts";
import {
  encodeRecord,
  type JournalBatch,
  MAGIC,
  RecordKind,
  SESSION_INTERVAL_BYTES,
} from "./journal_format.ts";
import { countPackets, overlap, PacketBuffer } from "./packet_buffer.ts";

/** Bytes of a journal that could not be read. */
export interface Damage {
  /** How many. */
  readonly bytes: number;
  /** The file in which they were set aside. */
  readonly file: string;
  /** They may have held packets that nothing else in the journal shows. */
  readonly maybeMore: boolean;
}

/** The contents of a journal when it was opened. */
export interface Recovered {
  /**
   * The packets that were not settled, oldest first and without a gap, as `PacketBatch`es, with placeholders
   * for those that could not be read: see `Omission`.
   */
  readonly batches: readonly JournalBatch[];
  /** Packets below this index are settled; the first batch begins there. */
  readonly settled: number;
  /** The settled packets right before it that are still in the file. */
  readonly kept: readonly JournalBatch[];
  /** The claim under which the latest packets were acknowledged, if it is known. */
  readonly claim: string | undefined;
  /** Length of the truncated record that was cut off; 0 after a graceful end. */
  readonly tornBytes: number;
  /** Undefined if every byte could be read. */
  readonly damage: Damage | undefined;
  /** Packets of a session whose name could not be read: they cannot be sent. */
  readonly unknownPackets: number;
}

/** What a client recovered from its file. */
export interface Recovery {
  /** Packets that were not settled; they are sent first. */
  readonly packets: number;
  /** Bytes of a truncated record at the end, which was cut off: the process died while writing it. */
  readonly tornBytes: number;
  /**
   * Packets that could not be read. Those that Tally has stored are not lost; the others are counted as
   * rejected, `DAMAGED_IN_FILE`.
   */
  readonly lostPackets: number;
  /** Undefined if the file was not damaged. */
  readonly damage: Damage | undefined;
}

/** The packets that were recovered. */
export function bufferOf({ kept, batches, settled }: Recovered): PacketBuffer {
  const buffer = new PacketBuffer(kept[0]?.first ?? settled);
  for (const { bytes } of [...kept, ...batches]) buffer.addBatch(bytes);
  buffer.settle(settled);
  return buffer;
}

/** What was recovered, from the packets in `buffer`. */
export function recoveryOf(buffer: PacketBuffer, recovered: Recovered | undefined): Recovery {
  const pending = overlap(buffer.omitted, buffer.start, Infinity);
  const omitted = pending.reduce((sum, { from, to }) => sum + to - from, 0);
  return {
    packets: buffer.packets - omitted,
    tornBytes: recovered?.tornBytes ?? 0,
    lostPackets: omitted + (recovered?.unknownPackets ?? 0),
    damage: recovered?.damage,
  };
}

/** A file below this size is not worth rewriting. */
const MIN_REWRITE_BYTES = 1024 * 1024;

/** An open journal, locked for this process. One call at a time. */
export class Journal {
  readonly #path: string;
  readonly #sync: boolean;
  #file: Deno.FsFile;
  /** Salt of the open file. */
  #salt = 0;
  #size = 0;
  /** Bytes appended since the session was last named. */
  #sinceSession = 0;
  /** Packets below the first are settled; those below the second are in the file. */
  #settled = 0;
  #end = 0;

  private constructor(path: string, sync: boolean, file: Deno.FsFile, readonly session: string) {
    this.#path = path;
    this.#sync = sync;
    this.#file = file;
  }

  /**
   * Opens the journal at `path`, or makes one for a new session. With `sync`, what was written survives a
   * power cut, not only the end of the process.
   *
   * Creates the file's folder if it is missing. Rejects if the file cannot be opened, is in use, or is not a
   * journal. A damaged one is opened with what can be read of it.
   */
  static async open(
    path: string,
    { sync }: { sync: boolean },
  ): Promise<{ journal: Journal; recovered: Recovered }> {
    try {
      await Deno.mkdir(dirname(path), { recursive: true });
      const file = await openLocked(path);
      return await Journal.#read(path, sync, file);
    } catch (error) {
      throw new Error(`Cannot open the journal ${path}: ${messageOf(error)}`, { cause: error });
    }
  }

  static async #read(
    path: string,
    sync: boolean,
    file: Deno.FsFile,
  ): Promise<{ journal: Journal; recovered: Recovered }> {
    try {
      const bytes = await readAll(file);
      const contents = bytes.length === 0 ? undefined : readJournal(bytes);
      if (contents === undefined && bytes.length > 0) {
        throw new Error("found no journal of a known version; use another file");
      }
      const session = contents?.session ?? crypto.randomUUID();
      const journal = new Journal(path, sync, file, session);
      const recovered = contents === undefined
        ? {
          batches: [],
          kept: [],
          claim: undefined,
          settled: 0,
          tornBytes: 0,
          damage: undefined,
          unknownPackets: 0,
        }
        : await recover(path, bytes, contents);
      await journal.#resume(bytes.length, contents?.salt, recovered);
      return { journal, recovered };
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Continues the file, or rewrites it if its salt is unknown. */
  async #resume(size: number, salt: number | undefined, recovered: Recovered): Promise<void> {
    const { settled, batches, kept, claim, tornBytes } = recovered;
    if (salt === undefined) return await this.rewrite(settled, [...kept, ...batches], claim);
    this.#salt = salt;
    this.#size = size - tornBytes;
    this.#settled = this.#end = settled;
    for (const { first, bytes } of batches) this.#end = first + countPackets(bytes);
    if (tornBytes > 0) await this.#file.truncate(this.#size);
    await this.#file.seek(this.#size, Deno.SeekMode.Start);
  }

  /** Appends a `PacketBatch` whose first packet has the index `first`. */
  async appendPackets(first: number, bytes: Uint8Array): Promise<void> {
    const packets = countPackets(bytes);
    await this.#append(RecordKind.PACKETS, first, packets, bytes);
    this.#end = Math.max(this.#end, first + packets);
  }

  /** Makes appended records durable: with `sync`, syncs the disk. */
  async flush(): Promise<void> {
    if (this.#sync) await this.#file.syncData();
  }

  /** Records that the packets below `index` are settled. Its loss is harmless: the server sends it again. */
  async appendSettled(index: number): Promise<void> {
    await this.#append(RecordKind.SETTLED, index, Math.max(0, this.#end - index));
    this.#settled = index;
    this.#end = Math.max(this.#end, index);
  }

  /** Records under which claim the latest packets were acknowledged. */
  async appendClaim(claim: string): Promise<void> {
    await this.#append(
      RecordKind.CLAIM,
      this.#settled,
      this.#end - this.#settled,
      new TextEncoder().encode(claim),
    );
  }

  /** Whether most of the file is packets that are not kept; `liveBytes` of packets are. */
  shouldRewrite(liveBytes: number): boolean {
    return this.#size > Math.max(MIN_REWRITE_BYTES, 2 * liveBytes);
  }

  /** Replaces the file atomically by one with only these packets, of which those before `settled` are settled. */
  async rewrite(settled: number, batches: readonly JournalBatch[], claim?: string): Promise<void> {
    const temporaryPath = `${this.#path}.new`;
    const old = this.#file;
    const file = await Deno.open(temporaryPath, { write: true, read: true, create: true, truncate: true });
    try {
      // Locked before the rename: no other process can open it in between.
      await file.tryLock(true);
      this.#file = file;
      this.#size = 0;
      this.#salt = crypto.getRandomValues(new Uint32Array(1))[0]!;
      this.#settled = this.#end = batches[0]?.first ?? settled;
      await this.#write(MAGIC);
      await this.#appendSession();
      for (const { first, bytes } of batches) await this.appendPackets(first, bytes);
      if (this.#settled < settled) await this.appendSettled(settled);
      if (claim !== undefined) await this.appendClaim(claim);
      await file.sync();
      await Deno.rename(temporaryPath, this.#path);
      if (this.#sync) await syncFolder(this.#path);
    } catch (error) {
      this.#file = old;
      file.close();
      throw error;
    }
    old.close();
  }

  /** Closes and unlocks the file. */
  close(): void {
    this.#file.close();
  }

  async #append(kind: RecordKind, index: number, packets: number, body?: Uint8Array): Promise<void> {
    if (this.#sinceSession >= SESSION_INTERVAL_BYTES) await this.#appendSession();
    const record = encodeRecord(this.#salt, kind, index, packets, body);
    this.#sinceSession += record.length;
    await this.#write(record);
  }

  async #appendSession(): Promise<void> {
    this.#sinceSession = 0;
    const body = new TextEncoder().encode(this.session);
    const packets = this.#end - this.#settled;
    await this.#write(encodeRecord(this.#salt, RecordKind.SESSION, this.#settled, packets, body));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    await writeAll(this.#file, bytes);
    this.#size += bytes.length;
  }
}

/** Moves damaged bytes to a file of their own, and returns the rest. */
async function recover(path: string, bytes: Uint8Array, contents: JournalContents): Promise<Recovered> {
  const { session, settled, batches, kept, claim, tornBytes, damaged, unknownPackets, maybeMore } = contents;
  const rest = { batches, kept, claim, tornBytes };
  if (damaged.length === 0) return { ...rest, settled, damage: undefined, unknownPackets: 0 };
  const damage = {
    bytes: damaged.reduce((sum, [from, to]) => sum + to - from, 0),
    file: await setAside(path, bytes, damaged),
    maybeMore,
  };
  return { ...rest, settled: session === undefined ? 0 : settled, damage, unknownPackets };
}

/** Writes the parts of a journal to a new file beside it; returns the file's path. */
async function setAside(path: string, bytes: Uint8Array, parts: JournalContents["damaged"]): Promise<string> {
  for (let number = 1;; number++) {
    const aside = `${path}.damaged-${number}`;
    try {
      using file = await Deno.open(aside, { write: true, createNew: true });
      for (const [from, to] of parts) {
        const title = `bytes ${from} to ${to} of ${basename(path)}, of ${bytes.length} bytes:\n`;
        await writeAll(file, new TextEncoder().encode(title));
        await writeAll(file, bytes.subarray(from, to));
        await writeAll(file, new TextEncoder().encode("\n"));
      }
      await file.sync();
      return aside;
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    }
  }
}

/** A program that this process starts has the files of this process, and so their locks, for a moment. */
const LOCK_TIMEOUT_MS = 250, LOCK_INTERVAL_MS = 10;

async function tryLock(file: Deno.FsFile): Promise<boolean> {
  for (const startedMs = performance.now();;) {
    if (await file.tryLock(true)) return true;
    if (performance.now() - startedMs > LOCK_TIMEOUT_MS) return false;
    await delay(LOCK_INTERVAL_MS);
  }
}

async function openLocked(path: string): Promise<Deno.FsFile> {
  for (;;) {
    const file = await Deno.open(path, { read: true, write: true, create: true });
    try {
      if (!await tryLock(file)) {
        throw new Error("found it open in another process; use another file");
      }
      // The previous owner may have replaced the file before this process got the lock.
      const [{ ino: opened }, { ino: named }] = await Promise.all([file.stat(), Deno.stat(path)]);
      if (opened === named) return file;
    } catch (error) {
      file.close();
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      continue;
    }
    file.close();
  }
}

async function readAll(file: Deno.FsFile): Promise<Uint8Array> {
  const bytes = new Uint8Array((await file.stat()).size);
  let filled = 0;
  while (filled < bytes.length) {
    const read = await file.read(bytes.subarray(filled));
    if (read === null) break;
    filled += read;
  }
  return bytes.subarray(0, filled);
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

/** Makes a rename survive a power cut. */
async function syncFolder(path: string): Promise<void> {
  using folder = await Deno.open(dirname(path));
  await folder.sync();
}
