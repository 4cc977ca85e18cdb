/**
 * Which addresses share the limits that apply to one address.
 *
 * @module
 */

/** The address, or the /64 network of an IPv6 address, which one machine may have all to itself. */
export function networkOf(hostname: string): string {
  if (!hostname.includes(":")) return hostname;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(hostname);
  if (mapped !== null) return mapped[1]!;
  const [head, tail] = hostname.split("::").map((part) => part === "" ? [] : part.split(":"));
  const zeros = tail === undefined ? 0 : 8 - head!.length - tail.length;
  return [...head!, ...Array(zeros).fill("0"), ...tail ?? []].slice(0, 4).join(":");
}

/** Whether a network of {@linkcode networkOf} is this machine itself: a proxy in front of Tally, as a rule. */
export function isLoopbackNetwork(network: string): boolean {
  return network.startsWith("127.") || network === "0:0:0:0";
}
