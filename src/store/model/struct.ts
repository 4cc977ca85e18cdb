/**
 * Layouts of packed fields, described once for TypeScript, which reads them by offset, and for Lua's `struct`
 * library, which reads them by format.
 *
 * @module
 */

/** Type of a field, big-endian: unsigned integer of 8 or 16 bits, or a double. */
export type FieldType = "u8" | "u16" | "f64";

/** Width in bytes, and the letter of Lua's `struct` library. */
const fieldTypes: Readonly<Record<FieldType, { readonly bytes: number; readonly lua: string }>> = {
  u8: { bytes: 1, lua: "B" },
  u16: { bytes: 2, lua: "I2" },
  f64: { bytes: 8, lua: "d" },
};

/** Fields that follow each other without gaps. */
export interface StructLayout<Name extends string = string> {
  /** Names in the order of the bytes. */
  readonly names: readonly Name[];
  /** Where each field begins, from the struct's first byte. */
  readonly offsets: Readonly<Record<Name, number>>;
  /** Length of all fields. */
  readonly bytes: number;
  /** The same for Lua's `struct.pack()` and `struct.unpack()`. */
  readonly luaFormat: string;
}

/** Lays out `fields` in the order in which they are written. */
export function structLayout<Name extends string>(
  fields: Readonly<Record<Name, FieldType>>,
): StructLayout<Name> {
  const names = Object.keys(fields) as Name[];
  const offsets: Partial<Record<Name, number>> = {};
  let bytes = 0, luaFormat = ">";
  for (const name of names) {
    offsets[name] = bytes;
    bytes += fieldTypes[fields[name]].bytes;
    luaFormat += fieldTypes[fields[name]].lua;
  }
  return { names, offsets: offsets as Record<Name, number>, bytes, luaFormat };
}
