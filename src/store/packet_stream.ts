/**
 * The packet stream: every packet that is counted, once, for programs that read on from there. A batch appends its
 * packets in the same atomic step that counts them.
 *
 * An entry has packets of one device, in the order in which they were accepted; those of a device are in its entries in
 * the order of the entries. The stream keeps as many entries as {@linkcode PacketStreamPart.maxEntries}, about.
 *
 * @module
 */

/** One entry. */
export interface PacketEntry {
  /** Its position: a cursor to read on after it. */
  readonly id: string;
  /** When its packets were received, Unix milliseconds. */
  readonly receivedAtMs: number;
  /** A `PacketBatch` of the proto; timestamps are Unix milliseconds. */
  readonly packets: Uint8Array;
}

/** Some entries of one device. */
export interface PacketPage {
  /** Oldest first. */
  readonly entries: readonly PacketEntry[];
  /** Cursor after what was searched, for the next page; of an empty stream the one that was given, or "". */
  readonly next: string;
  /** Nothing is after `next` now. */
  readonly isEnd: boolean;
}

/** Reads the packet stream. */
export interface PacketStreamReader {
  /**
   * Entries of a device after the cursor; `""`: from the oldest. There may be fewer than `limit` although there are more
   * later: then {@linkcode PacketPage.isEnd} is false. Rejects as every method, and for a cursor that is none.
   */
  packetsOf(deviceId: string, after: string, limit: number): Promise<PacketPage>;
}

/** Of a page, of which one entry may be larger. */
export const PAGE_BYTES = 262_144;

/** A larger entry is one packet: more of them are divided, as readers take entries as a whole. */
export const MAX_ENTRY_BYTES = 65_536;

/** Whether a text is a cursor of any store. */
export function isCursor(text: string): boolean {
  return text === "" || /^\d{1,16}(-\d{1,16})?$/.test(text);
}
