/**
 * Journals that a disk, a power cut or a stray program has damaged.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";

import { assert, assertEquals, assertGreater } from "@std/assert";
import protobuf from "protobufjs";

import { Journal, type Recovered } from "../../src/client/journal.ts";
import { EncodedPacket } from "../../src/client/encoded_packet.ts";
import { PacketBuffer } from "../../src/client/packet_buffer.ts";
import { forSeeds, type Random } from "../support/random.ts";

const proto = await protobuf.load(new URL("../../proto/telemetry.proto", import.meta.url).pathname);
const batchType = proto.lookupType("PacketBatch");

/** A `PacketBatch` with the packets `first` to `first + count - 1`: each has its index for a device_id. */
function batch(first: number, count: number, payload = new Uint8Array(3)): Uint8Array {
  const buffer = new PacketBuffer();
  const encoded = new EncodedPacket();
  const cursor = buffer.cursor();
  for (let index = first; index < first + count; index++) {
    encoded.set({ device_id: String(index), timestamp: 1, payload });
    buffer.add(encoded);
  }
  return cursor.take()!;
}

/** What can be read: the index under which each packet is sent, and that under which it was added. */
function packetsOf({ batches }: Recovered): { index: number; wasIndex: number | undefined }[] {
  return batches.flatMap(({ first, bytes }) => {
    const { packets } = batchType.toObject(batchType.decode(bytes), { defaults: true, arrays: true });
    return (packets as { deviceId: string }[]).map(({ deviceId }, offset) => ({
      index: first + offset,
      wasIndex: deviceId === "" ? undefined : Number(deviceId),
    }));
  });
}

/** A folder with a journal that was written at random. */
interface Written {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly session: string;
  readonly settled: number;
  readonly end: number;
  /** Where the file could be cut without anyone noticing. */
  readonly boundaries: ReadonlySet<number>;
}

/** Where the records of a journal begin. */
function* records(bytes: Uint8Array): Generator<number> {
  const marker = Buffer.from([0xf1, 0x4a, 0x72, 0x6e]), buffer = Buffer.from(bytes);
  for (let at = buffer.indexOf(marker); at >= 0; at = buffer.indexOf(marker, at + 1)) yield at;
}

async function writeJournal(path: string, random: Random): Promise<Written> {
  const { journal } = await Journal.open(path, { sync: false });
  let settled = 0, end = 0;
  for (let step = random.int(1, 60); step > 0; step--) {
    if (random.chance(0.15)) {
      settled = random.int(settled, end);
      await journal.appendSettled(settled);
    } else {
      const count = random.int(1, 20);
      await journal.appendPackets(end, batch(end, count, random.bytes(random.pick([0, 3, 40, 300]))));
      end += count;
    }
  }
  journal.close();
  const bytes = await Deno.readFile(path);
  return {
    bytes,
    session: journal.session,
    settled,
    end,
    boundaries: new Set([...records(bytes), bytes.length]),
  };
}

const damages: Record<string, (bytes: Uint8Array<ArrayBuffer>, random: Random) => Uint8Array<ArrayBuffer>> = {
  flips(bytes, random) {
    const flipped = bytes.slice();
    for (let flips = random.int(1, 8); flips > 0; flips--) {
      flipped[random.int(0, bytes.length - 1)]! ^= 1 << random.int(0, 7);
    }
    return flipped;
  },
  truncation: (bytes, random) => bytes.slice(0, random.int(1, bytes.length)),
  zeroTail(bytes, random) {
    const zeroed = new Uint8Array(bytes.length + random.pick([0, 1, 9, 4096]));
    zeroed.set(bytes.subarray(0, random.int(0, bytes.length)));
    return zeroed;
  },
  zeroBlock: (bytes, random) =>
    bytes.slice().fill(0, random.int(0, bytes.length), random.int(0, bytes.length)),
  garbageTail: (bytes, random) => new Uint8Array([...bytes, ...random.bytes(random.int(1, 200))]),
  garbageBlock(bytes, random) {
    const at = random.int(0, bytes.length - 1);
    const replaced = bytes.slice();
    replaced.set(random.bytes(random.int(1, bytes.length - at)), at);
    return replaced;
  },
  blockTwice(bytes, random) {
    const from = random.int(0, bytes.length - 1), to = random.int(from + 1, bytes.length);
    const at = random.int(0, bytes.length);
    return new Uint8Array([...bytes.subarray(0, at), ...bytes.subarray(from, to), ...bytes.subarray(at)]);
  },
  blockOverAnother(bytes, random) {
    const size = random.int(1, bytes.length);
    return bytes.slice().copyWithin(
      random.int(0, bytes.length - size),
      random.int(0, bytes.length - size),
    ).slice(0, bytes.length);
  },
  blockMissing(bytes, random) {
    const from = random.int(0, bytes.length - 1);
    return new Uint8Array([
      ...bytes.subarray(0, from),
      ...bytes.subarray(random.int(from + 1, bytes.length)),
    ]);
  },
};

/** Whether the bytes could be those of a journal that was cut between two records: nothing shows what followed. */
function isCutBetweenRecords(bytes: Uint8Array, { bytes: whole, boundaries }: Written): boolean {
  const head = (of: Uint8Array, at: number) => Buffer.from(of.subarray(at, at + 33));
  return boundaries.has(bytes.length) &&
    [...boundaries].every((at) => at >= bytes.length || head(bytes, at).equals(head(whole, at)));
}

for (const [name, damage] of Object.entries(damages)) {
  Deno.test(`Journal.open() after damage restores no packet twice and loses none without a report: ${name}`, () =>
    forSeeds(15, async (random) => {
      const folder = await Deno.makeTempDir();
      const path = `${folder}/device.journal`;
      try {
        const written = await writeJournal(path, random);
        for (let round = 0; round < 5; round++) {
          const damaged = damage(written.bytes, random);
          for (const { name } of Deno.readDirSync(folder)) await Deno.remove(`${folder}/${name}`);
          await Deno.writeFile(path, damaged);
          await checkRecovery(path, folder, damaged, written);
        }
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    }));
}

/** Whether the bytes can be told from those of any other file: by their beginning, or by a record's head. */
function isJournal(bytes: Uint8Array, { bytes: whole, boundaries }: Written): boolean {
  const buffer = Buffer.from(bytes);
  return buffer.subarray(0, 16).equals(whole.subarray(0, 16)) ||
    [...boundaries].some((at) =>
      at < whole.length && buffer.includes(Buffer.from(whole.subarray(at, at + 33)))
    );
}

async function checkRecovery(
  path: string,
  folder: string,
  damaged: Uint8Array,
  written: Written,
): Promise<void> {
  if (!isJournal(damaged, written)) return;
  const { journal, recovered } = await Journal.open(path, { sync: false });
  const { settled, batches, tornBytes, damage, unknownPackets } = recovered;
  const files = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  assertEquals(
    files,
    damage === undefined ? ["device.journal"] : ["device.journal", "device.journal.damaged-1"],
  );
  if (damage !== undefined) assertGreater((await Deno.stat(damage.file)).size, damage.bytes);
  const packets = packetsOf(recovered);
  if (journal.session === written.session) {
    assert(settled <= written.settled, `${settled} are settled`);
    // Without a gap, and each packet under its own index: the server counts each once.
    packets.forEach(({ index }, offset) => assertEquals(index, settled + offset));
    for (const { index, wasIndex } of packets) assert(wasIndex === undefined || wasIndex === index);
    const end = settled + packets.length;
    assert(end <= written.end);
    const isReported = tornBytes > 0 || damage?.maybeMore || isCutBetweenRecords(damaged, written);
    assert(
      Math.max(end, written.settled) >= written.end || isReported,
      `${written.end - end} packets are dropped`,
    );
  } else {
    assertEquals([batches.length, damage?.maybeMore, damage?.bytes], [0, true, damaged.length]);
    assert(unknownPackets <= written.end);
  }
  // The next one finds the same, and what is added, without any damage.
  const end = settled + packets.length;
  await journal.appendPackets(end, batch(end, 2));
  journal.close();
  const next = await Journal.open(path, { sync: false });
  next.journal.close();
  assertEquals([next.recovered.damage, next.recovered.tornBytes], [undefined, 0]);
  assertEquals(packetsOf(next.recovered), [
    ...packets,
    { index: end, wasIndex: end },
    { index: end + 1, wasIndex: end + 1 },
  ]);
}

/** A journal with 100 records of ten packets each; where each record begins. */
async function hundredRecords(path: string): Promise<{ bytes: Uint8Array<ArrayBuffer>; starts: number[] }> {
  const { journal } = await Journal.open(path, { sync: false });
  const starts = [];
  for (let index = 0; index < 1000; index += 10) {
    starts.push((await Deno.stat(path)).size);
    await journal.appendPackets(index, batch(index, 10));
  }
  journal.close();
  return { bytes: await Deno.readFile(path), starts };
}

Deno.test("Journal.open() loses only the ten packets of the record in which a byte was flipped", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  const { bytes, starts } = await hundredRecords(path);
  for (const [record, offset] of [[0, 40], [10, 10], [10, 60], [98, 0], [99, 60]] as const) {
    const flipped = bytes.slice();
    flipped[starts[record]! + offset]! ^= 4;
    await Deno.writeFile(path, flipped);
    const { journal, recovered } = await Journal.open(path, { sync: false });
    journal.close();
    const packets = packetsOf(recovered);
    const lost = packets.filter(({ wasIndex }) => wasIndex === undefined).map(({ index }) => index);
    assertEquals(packets.length, 1000);
    assertEquals(lost, Array.from({ length: 10 }, (_, index) => record * 10 + index));
    assertEquals(recovered.damage?.maybeMore, false);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Journal.open() restores no packet under another index, for any flipped byte of a record's head", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  const { bytes, starts } = await hundredRecords(path);
  for (const record of [50, 99]) {
    for (let offset = 0; offset < 33; offset++) {
      const flipped = bytes.slice();
      flipped[starts[record]! + offset]! ^= 1 << (offset % 8);
      await Deno.writeFile(path, flipped);
      const { journal, recovered } = await Journal.open(path, { sync: false });
      journal.close();
      const packets = packetsOf(recovered);
      assert(packets.every(({ index, wasIndex }) => wasIndex === undefined || wasIndex === index));
      assertEquals(packets.filter(({ wasIndex }) => wasIndex !== undefined).length, 990);
      // What the last record held is shown by nothing else.
      assertEquals(
        [packets.length, recovered.damage?.maybeMore],
        record === 99 ? [990, true] : [1000, false],
        `byte ${offset} of record ${record}`,
      );
    }
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Journal.open() finds records inserted in the middle of another", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  const { bytes, starts } = await hundredRecords(path);
  const at = starts[20]! + 60;
  // The records 30 to 39 stand in the middle of record 20, and not where they were.
  await Deno.writeFile(
    path,
    new Uint8Array([
      ...bytes.subarray(0, at),
      ...bytes.subarray(starts[30], starts[40]),
      ...bytes.subarray(at, starts[30]),
      ...bytes.subarray(starts[40]),
    ]),
  );
  const { journal, recovered } = await Journal.open(path, { sync: false });
  journal.close();
  const lost = packetsOf(recovered).filter(({ wasIndex }) => wasIndex === undefined).map(({ index }) =>
    index
  );
  assertEquals(lost, Array.from({ length: 10 }, (_, index) => 200 + index));
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Journal.open() recognizes its own records when the first is damaged and others are more", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  const { bytes: other } = await hundredRecords(path);
  await Deno.remove(path);
  const { journal } = await Journal.open(path, { sync: false });
  const { size } = await Deno.stat(path);
  await journal.appendPackets(0, batch(0, 1, other)); // large enough for the session to be named again
  await journal.appendPackets(1, batch(1, 1));
  await journal.appendPackets(2, batch(2, 1));
  journal.close();
  const damaged = await Deno.readFile(path);
  damaged[size - 1]! ^= 1; // of the first record, which names the session
  await Deno.writeFile(path, new Uint8Array([...damaged, ...other.subarray(16, 120)]));
  const again = await Journal.open(path, { sync: false });
  again.journal.close();
  assertEquals(again.journal.session, journal.session);
  assertEquals(packetsOf(again.recovered).map(({ wasIndex }) => wasIndex), [0, 1, 2]);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Journal.open() reports records that were overwritten by older ones of the same length", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  const { bytes, starts } = await hundredRecords(path);
  const length = bytes.length - starts[99]!;
  const older = starts.findLastIndex((start, index) => starts[index + 1] === start + length);
  bytes.copyWithin(starts[99]!, starts[older]!, starts[older]! + length);
  await Deno.writeFile(path, bytes);
  const { journal, recovered } = await Journal.open(path, { sync: false });
  journal.close();
  assertEquals(packetsOf(recovered).length, 990);
  assertEquals(recovered.damage?.maybeMore, true);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Journal.open() reads nothing inside a payload as a record", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  const { bytes: inner } = await hundredRecords(path);
  await Deno.remove(path);
  const { journal } = await Journal.open(path, { sync: false });
  const { size } = await Deno.stat(path);
  await journal.appendPackets(0, batch(0, 1, inner));
  await journal.appendPackets(1, batch(1, 1));
  journal.close();
  const flipped = await Deno.readFile(path);
  flipped[size + 40]! ^= 1;
  await Deno.writeFile(path, flipped);
  const again = await Journal.open(path, { sync: false });
  again.journal.close();
  assertEquals(again.journal.session, journal.session);
  assertEquals(packetsOf(again.recovered).map(({ wasIndex }) => wasIndex), [undefined, 1]);
  await Deno.remove(folder, { recursive: true });
});

/** A record of version 1. */
function record1(kind: number, content: Uint8Array, index?: number): Uint8Array {
  const head = new Uint8Array(index === undefined ? 1 : 9);
  head[0] = kind;
  if (index !== undefined) new DataView(head.buffer).setBigUint64(1, BigInt(index));
  const body = new Uint8Array([...head, ...content]);
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setUint32(0, body.length);
  new DataView(prefix.buffer).setUint32(4, crc32(body));
  return new Uint8Array([...prefix, ...body]);
}

const text = new TextEncoder();

/** A journal as version 1 wrote it: 20 packets settled, and records of ten packets each from there to `end`. */
function journal1(end: number): { bytes: Uint8Array<ArrayBuffer>; starts: number[] } {
  const starts: number[] = [];
  let bytes = new Uint8Array([
    ...text.encode("tally journal 1\n"),
    ...record1(1, text.encode("an-old-session")),
    ...record1(3, new Uint8Array(0), 20),
  ]);
  for (let index = 20; index < end; index += 10) {
    starts.push(bytes.length);
    bytes = new Uint8Array([...bytes, ...record1(2, batch(index, 10), index)]);
  }
  return { bytes, starts };
}

Deno.test("Journal.open() computes from settled offsets and session how many packets are lost before it", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  const lost = async (damage: (bytes: Uint8Array, firstRecord: number) => void) => {
    const bytes = await Deno.readFile(path);
    damage(bytes, 16 + 33 + 36); // a random UUID is the session
    await Deno.writeFile(path, bytes);
    const { journal, recovered } = await Journal.open(path, { sync: false });
    journal.close();
    assert(packetsOf(recovered).every(({ wasIndex }) => wasIndex === undefined));
    return { packets: packetsOf(recovered).length, maybeMore: recovered.damage?.maybeMore };
  };
  const open = async () => (await Journal.open(path, { sync: false })).journal;

  let journal = await open();
  await journal.appendPackets(0, batch(0, 10));
  journal.close();
  journal = await open();
  await journal.appendSettled(3);
  journal.close();
  assertEquals(await lost((bytes, first) => bytes[first]! ^= 1), { packets: 7, maybeMore: false });

  await Deno.remove(folder, { recursive: true });
  journal = await open();
  await journal.appendPackets(0, batch(0, 2, new Uint8Array(3000)));
  await journal.appendPackets(2, batch(2, 1)); // the session is named before it
  journal.close();
  const both = (bytes: Uint8Array, first: number) => {
    bytes[first]! ^= 1;
    bytes[bytes.length - 40]! ^= 1;
  };
  assertEquals(await lost(both), { packets: 2, maybeMore: true });
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Journal.open() keeps packets that were set aside before", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  (await Journal.open(path, { sync: false })).journal.close();
  const garbage = ["first damage", "second damage"].map((title) => text.encode(title));
  for (const [index, bytes] of garbage.entries()) {
    await Deno.writeFile(path, bytes, { append: true });
    const { journal, recovered } = await Journal.open(path, { sync: false });
    journal.close();
    assertEquals(recovered.damage?.file, `${path}.damaged-${index + 1}`);
  }
  for (const [index, bytes] of garbage.entries()) {
    const kept = await Deno.readTextFile(`${path}.damaged-${index + 1}`);
    assert(kept.includes(new TextDecoder().decode(bytes)) && kept.startsWith("bytes "), kept);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Journal.open() reads version 1 and rewrites it as the current version", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  await Deno.writeFile(path, journal1(100).bytes);
  for (let round = 0; round < 2; round++) {
    const { journal, recovered } = await Journal.open(path, { sync: false });
    journal.close();
    assertEquals(journal.session, "an-old-session");
    assertEquals([recovered.damage, recovered.tornBytes, recovered.settled], [undefined, 0, 20]);
    assertEquals(
      packetsOf(recovered).map(({ wasIndex }) => wasIndex),
      Array.from({ length: 80 }, (_, i) => i + 20),
    );
    assertEquals((await Deno.readTextFile(path)).slice(0, 16), "tally journal 2\n");
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Journal.open() reads version 1 with any number of zeros at its end, and after damage", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  const { bytes, starts } = journal1(100);
  for (const zeros of [1, 8, 9, 100, 4096]) {
    await Deno.writeFile(path, new Uint8Array([...bytes, ...new Uint8Array(zeros)]));
    const { journal, recovered } = await Journal.open(path, { sync: false });
    journal.close();
    assertEquals([packetsOf(recovered).length, recovered.tornBytes, recovered.damage], [
      80,
      zeros,
      undefined,
    ]);
  }
  // And one whose last record was not written to its end.
  for (const length of [1, 7, 8, 9, 20, bytes.length - starts[7]! - 1]) {
    await Deno.writeFile(path, bytes.subarray(0, starts[7]! + length));
    const { journal, recovered } = await Journal.open(path, { sync: false });
    journal.close();
    assertEquals([packetsOf(recovered).length, recovered.tornBytes, recovered.damage], [
      70,
      length,
      undefined,
    ]);
  }
  const flipped = bytes.slice();
  flipped[starts[3]! + 30]! ^= 1;
  await Deno.writeFile(path, flipped);
  const { journal, recovered } = await Journal.open(path, { sync: false });
  journal.close();
  assertEquals(
    packetsOf(recovered).filter(({ wasIndex }) => wasIndex === undefined).map(({ index }) => index),
    Array.from({ length: 10 }, (_, index) => 50 + index),
  );
  assertEquals(recovered.damage?.maybeMore, false);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Journal.open() recognizes version 1 by its first record, and reports losses that no index shows", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  const { bytes, starts } = journal1(100);
  const recover = async (bytes: Uint8Array<ArrayBuffer>) => {
    await Deno.writeFile(path, bytes);
    const { journal, recovered } = await Journal.open(path, { sync: false });
    journal.close();
    assertEquals(journal.session, "an-old-session");
    return { packets: packetsOf(recovered).length, maybeMore: recovered.damage?.maybeMore };
  };
  const withoutMagic = bytes.slice();
  withoutMagic[3]! ^= 1;
  assertEquals(await recover(withoutMagic), { packets: 80, maybeMore: undefined });
  const lastFlipped = bytes.slice();
  lastFlipped[starts[7]! + 30]! ^= 1;
  assertEquals(await recover(lastFlipped), { packets: 70, maybeMore: true });
  // What follows shows nothing of what was before it.
  for (const after of [record1(3, new Uint8Array(0), 30), bytes.subarray(starts[4], starts[5])]) {
    const { maybeMore } = await recover(new Uint8Array([...lastFlipped, ...after]));
    assertEquals(maybeMore, true);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Journal.open() treats an index too far ahead as damage, and reports it", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/device.journal`;
  const { journal } = await Journal.open(path, { sync: false });
  await journal.appendPackets(0, batch(0, 2));
  await journal.appendPackets(2 ** 40, batch(2, 1));
  journal.close();
  const again = await Journal.open(path, { sync: false });
  again.journal.close();
  assertEquals(packetsOf(again.recovered).map(({ wasIndex }) => wasIndex), [0, 1]);
  assertEquals(again.recovered.damage?.maybeMore, true);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Journal.open() does not fail on any damage of a version 1 journal", () =>
  forSeeds(60, async (random) => {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/device.journal`;
    const end = random.int(3, 20) * 10;
    const { bytes, starts } = journal1(end);
    const written = {
      ...{ bytes, session: "an-old-session", settled: 20, end },
      boundaries: new Set([...starts, bytes.length]),
    };
    const magic = bytes.subarray(0, 16);
    const damaged = damages[random.pick(Object.keys(damages))]!(bytes, random);
    await Deno.writeFile(path, damaged);
    // Without its beginning, it may be any file.
    if (Buffer.from(damaged.subarray(0, 16)).equals(magic)) {
      await checkRecovery(path, folder, damaged, written);
    }
    await Deno.remove(folder, { recursive: true });
  }));
