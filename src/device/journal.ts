/**
 * A file that keeps the packets a device has not been told are settled, so that they are sent after the
 * process died: appended to, never changed in the middle.
 *
 * The file is `tally journal 1\n` and then records: four bytes of length and four of CRC-32, both of the
 * record's body and big-endian, then the body. Its first byte says what the rest is:
 *
 *   1  the session's id; the first record, and only that
 *   2  packets: eight bytes with the index of the first, then a `PacketBatch`
 *   3  eight bytes: packets below that index are settled
 *
 * A record that is cut short or does not match its checksum ends the file: the process died while writing
 * it, before anyone was told that its packets were kept. What has been settled is thrown away by writing
 * a new file beside the old one and giving it the old one's name.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { dirname } from "node:path";

/** What a journal held when it was opened. */
export interface Recovered {
  /** The packets that were not settled, oldest first, as `PacketBatch`es. */
  readonly batches: readonly { readonly first: number; readonly bytes: Uint8Array }[];
  /** Packets below this index are settled; the first batch may begin below it. */
  readonly settled: number;
  /** Length of the torn end that was cut off; 0 after an orderly end. */
  readonly tornBytes: number;
}

const MAGIC = new TextEncoder().encode("tally journal 1\n");
const RECORD_SESSION = 1, RECORD_PACKETS = 2, RECORD_SETTLED = 3;
const HEAD_BYTES = 8, INDEX_BYTES = 8;

/** A file below this size is not worth rewriting. */
const MIN_REWRITE_BYTES = 1024 * 1024;

/** An open journal; no other process can open it meanwhile. One call at a time. */
export class Journal {
  #file: Deno.FsFile;
  #size: number;
  readonly #path: string;
  readonly #sync: boolean;

  private constructor(
    path: string,
    sync: boolean,
    file: Deno.FsFile,
    size: number,
    readonly session: string,
  ) {
    this.#path = path;
    this.#sync = sync;
    this.#file = file;
    this.#size = size;
  }

  /**
   * Opens the journal at `path`, or makes one for a new session. With `sync`, what was written survives a
   * power cut, not only the end of the process.
   *
   * The file's folder is made if it is missing. Rejects if the file cannot be opened, is in use, or is
   * something else than a journal.
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
      throw new Error(`could not open the journal ${path}: ${messageOf(error)}`, { cause: error });
    }
  }

  static async #read(
    path: string,
    sync: boolean,
    file: Deno.FsFile,
  ): Promise<{ journal: Journal; recovered: Recovered }> {
    try {
      const bytes = await readAll(file);
      if (bytes.length === 0) {
        const journal = new Journal(path, sync, file, 0, crypto.randomUUID());
        await journal.rewrite(0, []);
        return { journal, recovered: { batches: [], settled: 0, tornBytes: 0 } };
      }
      const { session, length, ...contents } = parse(bytes);
      const tornBytes = bytes.length - length;
      if (tornBytes > 0) await file.truncate(length);
      await file.seek(length, Deno.SeekMode.Start);
      return {
        journal: new Journal(path, sync, file, length, session),
        recovered: { ...contents, tornBytes },
      };
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Appends a `PacketBatch` whose first packet has the index `first`. */
  async appendPackets(first: number, bytes: Uint8Array): Promise<void> {
    await this.#append(record(RECORD_PACKETS, first, bytes));
  }

  /** To be called before what was appended is relied upon: syncs the disk if that was asked for. */
  async flush(): Promise<void> {
    if (this.#sync) await this.#file.syncData();
  }

  /** Notes that the packets below `index` are settled. Losing the note is harmless: the server knows too. */
  async appendSettled(index: number): Promise<void> {
    await this.#append(record(RECORD_SETTLED, index));
  }

  /** Whether most of the file is of no use any more, when `liveBytes` of packets are not settled. */
  shouldRewrite(liveBytes: number): boolean {
    return this.#size > Math.max(MIN_REWRITE_BYTES, 2 * liveBytes);
  }

  /** Replaces the file by one that holds only these packets, in one step. */
  async rewrite(settled: number, batches: Recovered["batches"]): Promise<void> {
    const temporaryPath = `${this.#path}.new`;
    const old = this.#file;
    const file = await Deno.open(temporaryPath, { write: true, read: true, create: true, truncate: true });
    try {
      // Locked before it has the name: nobody can come between.
      await file.tryLock(true);
      this.#file = file;
      this.#size = 0;
      await this.#append(MAGIC);
      await this.#append(record(RECORD_SESSION, undefined, new TextEncoder().encode(this.session)));
      await this.#append(record(RECORD_SETTLED, settled));
      for (const { first, bytes } of batches) await this.#append(record(RECORD_PACKETS, first, bytes));
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

  /** Closes the file and lets others open it. */
  close(): void {
    this.#file.close();
  }

  async #append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#file.write(bytes.subarray(at));
    this.#size += bytes.length;
  }
}

async function openLocked(path: string): Promise<Deno.FsFile> {
  for (;;) {
    const file = await Deno.open(path, { read: true, write: true, create: true });
    try {
      if (!await file.tryLock(true)) {
        throw new Error("another process has it open; use another file");
      }
      // The owner before us may have put a new file in this one's place while we came for the lock.
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

/** Reads as far as records are whole; `length` is where they end. */
function parse(bytes: Uint8Array) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const batches: { first: number; bytes: Uint8Array }[] = [];
  let session: string | undefined, settled = 0, at = MAGIC.length;
  if (MAGIC.some((byte, index) => bytes[index] !== byte)) throw notAJournal();
  while (at + HEAD_BYTES < bytes.length) {
    const body = bytes.subarray(at + HEAD_BYTES, at + HEAD_BYTES + view.getUint32(at));
    if (body.length !== view.getUint32(at) || crc32(body) !== view.getUint32(at + 4)) break;
    if (body[0] === RECORD_SESSION) session = new TextDecoder().decode(body.subarray(1));
    else {
      const index = Number(view.getBigUint64(at + HEAD_BYTES + 1));
      if (body[0] === RECORD_SETTLED) settled = index;
      else batches.push({ first: index, bytes: body.subarray(1 + INDEX_BYTES) });
    }
    at += HEAD_BYTES + body.length;
  }
  if (session === undefined) throw notAJournal();
  return { session, settled, batches, length: at };
}

function notAJournal(): Error {
  return new Error("it is no journal of this version; use another file");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function record(
  kind: number,
  index: number | undefined,
  content: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const bodyBytes = 1 + (index === undefined ? 0 : INDEX_BYTES) + content.length;
  const bytes = new Uint8Array(HEAD_BYTES + bodyBytes);
  const view = new DataView(bytes.buffer);
  view.setUint8(HEAD_BYTES, kind);
  if (index !== undefined) view.setBigUint64(HEAD_BYTES + 1, BigInt(index));
  bytes.set(content, bytes.length - content.length);
  view.setUint32(0, bodyBytes);
  view.setUint32(4, crc32(bytes.subarray(HEAD_BYTES)));
  return bytes;
}

/** Makes a rename survive a power cut. */
async function syncFolder(path: string): Promise<void> {
  using folder = await Deno.open(dirname(path));
  await folder.sync();
}
