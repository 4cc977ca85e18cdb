/**
 * Sessions belong to the identity that claims them: its name is part of theirs in the store.
 *
 * @module
 */
import { createHash } from "node:crypto";

import type { DeviceIdentity } from "./identity.ts";

/** Longest subject that is stored as it is. */
const MAX_SUBJECT_CHARACTERS = 64;

/**
 * The name in the store of an identity's session. That of an anonymous device is the name that it sent. Those of others
 * have a space, which no such name has; two identities have no name in common.
 */
export function ownedSession({ kind, subject }: DeviceIdentity, session: string): string {
  return kind === "none" ? session : `${ownerOf(subject)} ${session}`;
}

function ownerOf(subject: string): string {
  // Begins as no hash does.
  if (subject.length <= MAX_SUBJECT_CHARACTERS && /^[!-"$-~][!-~]*$/.test(subject)) return subject;
  return `#${createHash("sha256").update(subject).digest("base64url")}`;
}
