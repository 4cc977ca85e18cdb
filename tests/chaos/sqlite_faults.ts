/** @module */
import type { Fault, Scene } from "./scene.ts";
import type { SqlitePlace } from "./sqlite_place.ts";

/** How old a copy is that is put in the file's place. */
const MIN_AGE_MS = 2000, MAX_AGE_MS = 6000;

/** All kinds of faults of the SQLite file. */
export function sqliteFaults(place: SqlitePlace, scene: Scene): Fault[] {
  const always = () => true;
  return [
    scene.shared(
      "lock the SQLite file",
      always,
      (random) => place.hold("BEGIN IMMEDIATE", () => scene.pause(random.int(100, 3000))),
    ),
    scene.shared(
      "read the SQLite file for long",
      always,
      (random) =>
        place.hold("BEGIN; SELECT count(*) FROM sqlite_schema", () => scene.pause(random.int(1000, 6000))),
    ),
    scene.ofData("put back an older copy of the SQLite file", async (random) => {
      const copy = await scene.lock.alone(() => place.copy());
      if (await scene.pause(random.int(MIN_AGE_MS, MAX_AGE_MS))) {
        await scene.loseDataAlone(() => place.replace(copy));
      }
    }),
    scene.ofAllData("delete the SQLite file and its log", () => place.remove({ alone: false })),
    scene.ofAllData("delete the SQLite file alone", () => place.remove({ alone: true })),
    scene.ofAllData("replace the SQLite file by an empty one", async () => {
      const empty = `${place.folder}/empty`;
      await Deno.writeFile(empty, new Uint8Array(0));
      await place.replace(empty);
    }),
  ];
}
