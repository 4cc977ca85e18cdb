/**
 * Names of readers' tokens, which are the actors of the audit log.
 *
 * @module
 */

/** Characters of a name, at most. */
export const MAX_READER_NAME = 64;

/** All that {@linkcode isReaderName} accepts. */
export const readerName = /^[A-Za-z0-9 ._@-]{1,64}$/;

/** Completes "use …", for messages about another text. */
export const READER_NAME_RULE = `1 to ${MAX_READER_NAME} letters, digits, spaces or any of . _ @ -`;

/** Whether `text` may name a reader's token. */
export function isReaderName(text: string): boolean {
  return readerName.test(text);
}
