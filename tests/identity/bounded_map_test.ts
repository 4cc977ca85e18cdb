import { assertEquals, assertLessOrEqual } from "@std/assert";

import { BoundedMap } from "../../src/identity/bounded_map.ts";

Deno.test("BoundedMap holds the half of its capacity that was used last, and never more than its capacity", () => {
  const map = new BoundedMap<number>(100);
  for (let i = 0; i < 1000; i++) {
    map.set(`${i}`, i);
    map.get("7");
    assertLessOrEqual(map.size, 100);
    for (let back = 0; back < 45 && back <= i; back++) {
      const key = `${i - back}`;
      assertEquals(back % 9 === 0 ? map.get(key) : i - back, i - back);
    }
  }
  assertEquals([map.get("7"), map.get("8"), map.get("999")], [7, undefined, 999]);
  map.delete("7");
  assertEquals(map.get("7"), undefined);
  map.set("999", 0);
  assertEquals(map.get("999"), 0);
  map.clear();
  assertEquals([map.size, map.get("999")], [0, undefined]);
});
