/**
 * Requests to the api.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />

/** The api refused, or did not answer; `status` is 0 then. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * @param {string} url
 * @param {RequestInit} [init]
 * @returns {Promise<any>} the JSON of the answer; rejects with {@link ApiError}
 */
export async function request(url, init) {
  let response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "the api does not answer");
  }
  if (response.status === 204) return undefined;
  // A proxy in between may answer with something else.
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, body.error ?? `the api answered ${response.status}`);
  return body;
}

/**
 * @param {string} deviceId
 * @returns {string} where this page shows a device
 */
export function devicePage(deviceId) {
  return `/?device=${encodeURIComponent(deviceId)}`;
}

/**
 * Where the api has a device. URLs cannot carry "." and "..", and "by-id" is the way around that.
 *
 * @param {string} deviceId
 * @param {"" | "/history"} [part]
 * @returns {string}
 */
export function deviceUrl(deviceId, part = "") {
  const id = encodeURIComponent(deviceId);
  return [".", "..", "by-id"].includes(deviceId) ? `/devices/by-id${part}?id=${id}` : `/devices/${id}${part}`;
}
