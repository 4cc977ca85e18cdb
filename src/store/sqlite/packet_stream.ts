/**
 * The packet stream in a SQLite file: a table.
 *
 * @module
 */
import { packEntries, readEntries } from "../model/packet_entries.ts";
import { isCursor, type PacketPage, type PacketStreamReader, PAGE_BYTES } from "../packet_stream.ts";
import type { Batch } from "../packets.ts";
import { StoreError } from "../store_error.ts";
import type { Database } from "./database.ts";
import { unixNowMs } from "./migrations.ts";

const writes = {
  // Microseconds of the clock where there is none: a file that replaces another has greater ids than that.
  last: `SELECT coalesce(max(id), 1000 * ${unixNowMs}) AS id FROM packet_stream`,
  append: "INSERT INTO packet_stream VALUES (?, ?, ?, ?)",
  trim: "DELETE FROM packet_stream WHERE id <= ?",
};

/**
 * Returns the function that appends the packets of a batch, without those of the devices at the positions for which
 * `isRefused` returns true; call it in the batch's transaction.
 */
export function packetAppender(
  database: Database,
): (batch: Batch, isRefused: (position: number) => boolean) => void {
  const statements = database.prepare(writes);
  return (batch, isRefused) => {
    const first = (statements.last.get() as { id: number }).id;
    let id = first;
    readEntries(batch.packetStream!.entries ?? packEntries(batch.devices), (position, deviceId, packets) => {
      if (!isRefused(position)) statements.append.run(++id, deviceId, batch.receivedAtMs, packets);
    });
    if (id > first) statements.trim.run(id - batch.packetStream!.maxEntries);
  };
}

type Row = [id: number, receivedAtMs: number, packets: Uint8Array];

/** Reads the table. */
export function sqlitePacketStream(database: Database): PacketStreamReader {
  const { page, last } = database.prepareArrays({
    page: `SELECT id, received_ms, packets FROM packet_stream
      WHERE device_id = ? AND id > ? ORDER BY id LIMIT ?`,
    last: "SELECT max(id) FROM packet_stream",
  });
  return {
    packetsOf(deviceId, after, limit) {
      const attempt = `read the packets of device ${deviceId} from`;
      return database.readSnapshot<PacketPage>(attempt, () => {
        if (!isCursor(after)) throw new StoreError("found a cursor that is none");
        const from = after === "" ? 0 : Number.parseInt(after), entries: PacketPage["entries"][number][] = [];
        let bytes = 0;
        for (
          const [id, receivedAtMs, packets] of page.iterate(deviceId, from, limit) as Iterable<
            unknown
          > as Iterable<Row>
        ) {
          if (bytes > 0 && bytes + packets.length > PAGE_BYTES) break;
          entries.push({ id: String(id), receivedAtMs, packets });
          bytes += packets.length;
        }
        const isEnd = page.get(deviceId, Number(entries.at(-1)?.id ?? from), 1) === undefined;
        const [newest] = last.get() as unknown as [number | null];
        const reached = isEnd ? Math.max(from, newest ?? 0) : Number(entries.at(-1)!.id);
        return { entries, next: reached === 0 ? "" : String(reached), isEnd };
      });
    },
  };
}
