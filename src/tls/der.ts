/**
 * Reading DER (ITU-T X.690), as far as certificates and revocation lists need it.
 *
 * @module
 */

/** Tags that certificates and revocation lists contain. */
export const BOOLEAN = 0x01,
  INTEGER = 0x02,
  BIT_STRING = 0x03,
  OCTET_STRING = 0x04,
  OBJECT_ID = 0x06,
  UTC_TIME = 0x17,
  GENERALIZED_TIME = 0x18,
  SEQUENCE = 0x30;

/** One value: its tag, its contents, and all of its bytes. */
export interface DerValue {
  /** The identifier octet. */
  readonly tag: number;
  /** The contents octets. */
  readonly contents: Uint8Array;
  /** The whole encoding, tag and length included. */
  readonly bytes: Uint8Array;
}

/** The values that `bytes` consist of, one after the other; throws if they are not DER. */
export function readValues(bytes: Uint8Array): DerValue[] {
  const values: DerValue[] = [];
  for (let at = 0; at < bytes.length;) {
    const value = readValue(bytes, at);
    values.push(value);
    at += value.bytes.length;
  }
  return values;
}

/** The values within a constructed value that must have the tag. */
export function valuesIn(value: DerValue | undefined, tag: number): DerValue[] {
  return readValues(contentsOf(value, tag));
}

/** The contents of a value that must have the tag. */
export function contentsOf(value: DerValue | undefined, tag: number): Uint8Array {
  if (value?.tag !== tag) throw new Error(`expected the tag ${tag}, found ${value?.tag ?? "the end"}`);
  return value.contents;
}

/** An object identifier in hexadecimal digits, as it is encoded. */
export function objectIdOf(value: DerValue | undefined): string {
  return contentsOf(value, OBJECT_ID).toHex();
}

/** A time, Unix milliseconds; `value` is a UTCTime or a GeneralizedTime as RFC 5280 prescribes them. */
export function timeOf(value: DerValue | undefined): number {
  const text = new TextDecoder().decode(value?.contents);
  const digits = value?.tag === UTC_TIME ? `${Number(text.slice(0, 2)) < 50 ? 20 : 19}${text}` : text;
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits) ?? [];
  const isTime = value?.tag === UTC_TIME || value?.tag === GENERALIZED_TIME;
  if (!isTime || year === undefined) throw new Error(`expected a time, found ${JSON.stringify(text)}`);
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

function readValue(bytes: Uint8Array, at: number): DerValue {
  const first = bytes[at + 1];
  if (first === undefined) throw new Error("found the end of the data in a value");
  let length = first, start = at + 2;
  if (first >= 0x80) {
    const digits = first & 0x7f;
    if (digits === 0 || digits > 4) throw new Error(`found a length of ${digits} bytes`);
    length = 0;
    for (; start < at + 2 + digits; start++) length = length * 256 + (bytes[start] ?? NaN);
  }
  const end = start + length;
  if (!(end <= bytes.length)) throw new Error("found the end of the data in a value");
  return { tag: bytes[at]!, contents: bytes.subarray(start, end), bytes: bytes.subarray(at, end) };
}
