import { assert, assertEquals, assertRejects } from "@std/assert";

import { Journal, type Recovered } from "../../src/client/journal.ts";
import { EncodedPacket } from "../../src/client/encoded_packet.ts";
import { PacketBuffer } from "../../src/client/packet_buffer.ts";

/** A `PacketBatch` with packets of one device each. */
function batch(...deviceIds: string[]): Uint8Array {
  const buffer = new PacketBuffer();
  const encoded = new EncodedPacket();
  const cursor = buffer.cursor();
  for (const device_id of deviceIds) {
    encoded.set({ device_id, timestamp: 1, payload: new Uint8Array(3) });
    buffer.add(encoded);
  }
  return cursor.take()!;
}

/** A journal's path in a folder that goes away. */
async function temporaryPath(): Promise<
  AsyncDisposable & { readonly path: string; readonly folder: string }
> {
  const folder = await Deno.makeTempDir();
  return {
    path: `${folder}/a/b.journal`,
    folder,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/** What a process finds that opens the journal. */
async function reopened(path: string): Promise<Recovered & { session: string }> {
  const { journal, recovered } = await Journal.open(path, { sync: false });
  journal.close();
  return { ...recovered, session: journal.session };
}

const unharmed = { claim: undefined, tornBytes: 0, damage: undefined, unknownPackets: 0 };

for (const sync of [false, true]) {
  Deno.test(`Journal.open() restores what appendPackets() wrote, ${sync ? "with" : "without"} syncs`, async () => {
    await using file = await temporaryPath();
    const { journal, recovered } = await Journal.open(file.path, { sync });
    assertEquals(recovered, { ...unharmed, batches: [], kept: [], settled: 0 });
    await journal.appendPackets(0, batch("a", "b"));
    await journal.appendPackets(2, batch("c"));
    await journal.appendSettled(1);
    await journal.flush();
    journal.close();
    const { session, ...rest } = await reopened(file.path);
    assertEquals(session, journal.session);
    assertEquals(rest, {
      ...unharmed,
      batches: [{ first: 1, bytes: batch("b") }, { first: 2, bytes: batch("c") }],
      kept: [{ first: 0, bytes: batch("a") }],
      settled: 1,
    });
  });
}

Deno.test("Journal.open() keeps all records before the end of a truncated file", async () => {
  await using file = await temporaryPath();
  const { journal } = await Journal.open(file.path, { sync: false });
  const wholeAt = [(await Deno.stat(file.path)).size];
  for (let index = 0; index < 3; index++) {
    await journal.appendPackets(index, batch(`device-${index}`));
    wholeAt.push((await Deno.stat(file.path)).size);
  }
  journal.close();
  const bytes = await Deno.readFile(file.path);
  for (let length = wholeAt[0]!; length <= bytes.length; length++) {
    await Deno.writeFile(file.path, bytes.subarray(0, length));
    const whole = wholeAt.findLastIndex((at) => at <= length);
    const { batches, tornBytes } = await reopened(file.path);
    assertEquals([batches.length, tornBytes], [whole, length - wholeAt[whole]!]);
    assertEquals((await Deno.stat(file.path)).size, wholeAt[whole]);
  }
});

Deno.test("Journal.open() removes any number of zeros at the end, and continues", async () => {
  for (const zeros of [1, 8, 9, 33, 4096, 100_000]) {
    await using file = await temporaryPath();
    const { journal } = await Journal.open(file.path, { sync: false });
    await journal.appendPackets(0, batch("a"));
    journal.close();
    await Deno.writeFile(file.path, new Uint8Array(zeros), { append: true });
    const again = await Journal.open(file.path, { sync: false });
    assertEquals([again.recovered.tornBytes, again.recovered.damage], [zeros, undefined]);
    await again.journal.appendPackets(1, batch("b"));
    again.journal.close();
    const { session, ...rest } = await reopened(file.path);
    assertEquals(session, journal.session);
    assertEquals(rest.batches.map(({ first }) => first), [0, 1]);
  }
});

Deno.test("Journal.appendPackets() after a torn end: the record is found by the next open()", async () => {
  await using file = await temporaryPath();
  const { journal } = await Journal.open(file.path, { sync: false });
  await journal.appendPackets(0, batch("a"));
  journal.close();
  const whole = await Deno.readFile(file.path);
  await Deno.writeFile(file.path, whole.subarray(whole.length - 45, whole.length - 34), { append: true });
  const again = await Journal.open(file.path, { sync: false });
  assertEquals(again.recovered.tornBytes, 11);
  await again.journal.appendPackets(1, batch("b"));
  again.journal.close();
  const { batches, tornBytes } = await reopened(file.path);
  assertEquals([batches.map(({ first }) => first), tornBytes], [[0, 1], 0]);
});

Deno.test("Journal.rewrite() keeps the session and the given packets, and leaves no other file", async () => {
  await using file = await temporaryPath();
  const { journal } = await Journal.open(file.path, { sync: true });
  await journal.appendPackets(0, batch("a", "b"));
  await journal.rewrite(1, [{ first: 1, bytes: batch("b") }]);
  await journal.appendPackets(2, batch("c"));
  journal.close();
  const { session, batches, settled } = await reopened(file.path);
  assertEquals([session, settled], [journal.session, 1]);
  assertEquals(batches, [{ first: 1, bytes: batch("b") }, { first: 2, bytes: batch("c") }]);
  assertEquals(Array.from(Deno.readDirSync(`${file.folder}/a`), ({ name }) => name), ["b.journal"]);
});

Deno.test("Journal.open() refuses a second owner, before and after rewrite()", async () => {
  await using file = await temporaryPath();
  const { journal } = await Journal.open(file.path, { sync: false });
  for (let round = 0; round < 2; round++) {
    await assertRejects(
      () => Journal.open(file.path, { sync: false }),
      Error,
      "found it open in another process",
    );
    await journal.rewrite(0, []);
  }
  journal.close();
  (await Journal.open(file.path, { sync: false })).journal.close();
});

Deno.test("Journal.open() refuses another kind of file, and does not change it", async () => {
  await using file = await temporaryPath();
  const path = `${file.folder}/notes.txt`;
  await Deno.writeTextFile(path, "my notes");
  await assertRejects(
    () => Journal.open(path, { sync: false }),
    Error,
    "found no journal of a known version",
  );
  assertEquals(await Deno.readTextFile(path), "my notes");
  assert((await Deno.stat(path)).isFile);
});
