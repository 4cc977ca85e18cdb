/**
 * What every store must do: run on each by its own test file.
 *
 * @module
 */
import type { Store } from "../../src/store/store.ts";
import { forSeeds } from "../support/random.ts";
import type { StoreLocation } from "../support/store_location.ts";
import { testAlerts } from "./alerts_contract.ts";
import { testAudit } from "./audit_contract.ts";
import { testCredentials } from "./credentials_contract.ts";
import { testDevices } from "./devices_contract.ts";
import { testEvents } from "./events_contract.ts";
import { testHistories } from "./history_contract.ts";
import { testInstances } from "./instances_contract.ts";
import { testKills } from "./kills_contract.ts";
import { testLabels } from "./labels_contract.ts";
import { testPackets } from "./packets_contract.ts";
import { testLimits } from "./limits_contract.ts";
import { testPacketStream } from "./packet_stream_contract.ts";
import type { TestStores } from "./parts.ts";
import { testRefills } from "./refill_contract.ts";
import { testReverts } from "./reverts_contract.ts";
import { StoreModel } from "./store_model.ts";
import { testValues } from "./values_contract.ts";

/** An empty place for data; each `open` is a store on it, as of one more process. */
export interface StorePlace extends AsyncDisposable {
  /** Opens one more store on the same data. */
  open(): Promise<Store>;
  /** The same for processes of their own. */
  readonly location: StoreLocation;
  /** Keeps the data as it is now, all stores being closed; the function it resolves to puts it back. */
  snapshot(): Promise<() => Promise<void>>;
}

/**
 * Registers the contract's tests under `kind`, each in a new place. `shards`: where there are several, limits are divided,
 * and events of different devices have no order; the test file tests what there is instead. `only`: leaves out what has
 * nothing to do with packets.
 */
export function testStoreContract(
  kind: string,
  makePlace: () => Promise<StorePlace>,
  { shards = 1, only = "all" }: { shards?: number; only?: "all" | "packets" } = {},
): void {
  const isSharded = shards > 1;
  const test: TestStores = (title, body) =>
    Deno.test(`${kind}: ${title}`, async () => {
      await using place = await makePlace();
      const store = await place.open();
      const other = await place.open();
      try {
        await body(store, other);
      } finally {
        await store.close();
        await other.close();
      }
    });

  testPackets(test, shards);
  testPacketStream(test, isSharded);
  if (!isSharded) testLimits(test);
  testDevices(test, shards);
  testHistories(test);
  testValues(test);
  testEvents(test);
  if (only === "all") {
    testInstances(test);
    testCredentials(test);
    testAudit(test);
    testLabels(test, shards);
    testAlerts(test);
  }
  testReverts(kind, makePlace);
  testRefills(kind, makePlace, { seesAllBatches: !isSharded });
  testKills(kind, makePlace);

  test(
    "claimSession() and apply() equal a model for any order of claims, batches and repeats",
    async (store, other) => {
      let runs = 0;
      await forSeeds(3, async (random) => {
        const model = new StoreModel(`run ${++runs}`);
        for (let step = 0; step < 300; step++) await model.step(random, random.pick([store, other]));
        await model.compare(store, { fleet: runs === 1, eventOrder: isSharded ? "device" : "all" });
      });
    },
  );
}
