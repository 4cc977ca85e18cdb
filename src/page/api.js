/**
 * Requests to the api.
 *
 * @module
 */
// @ts-check
/// <reference lib="dom" />

import { authorizedFetch } from "./token.js";

/** A request failed: with an HTTP status, or with status 0 when there was no response. */
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
 * @param {string} [token] instead of this tab's
 * @returns {Promise<any>} the JSON of the response; rejects with {@link ApiError}
 */
export async function request(url, init, token) {
  let response;
  try {
    response = await authorizedFetch(url, init, token);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "the api cannot be reached");
  }
  if (response.status === 204) return undefined;
  // A proxy in between may respond with something other than JSON.
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new ApiError(response.status, body.error ?? `the api responded with status ${response.status}`);
  }
  return body;
}

/**
 * @param {string} deviceId
 * @returns {string} address of the device's view
 */
export function deviceLink(deviceId) {
  return `/?device=${encodeURIComponent(deviceId)}`;
}

/**
 * URL of a device in the api. Browsers remove the path segments "." and ".."; the route "by-id" serves devices with
 * these ids, and with its own name as id.
 *
 * @param {string} deviceId
 * @param {"" | "/history"} [part]
 * @returns {string}
 */
export function deviceUrl(deviceId, part = "") {
  const id = encodeURIComponent(deviceId);
  return [".", "..", "by-id"].includes(deviceId) ? `/devices/by-id${part}?id=${id}` : `/devices/${id}${part}`;
}

/**
 * @param {string} deviceId
 * @param {string} name of a value: any text, as device ids
 * @param {Record<string, number>} query
 * @returns {string} URL of the value over time
 */
export function valueUrl(deviceId, name, query) {
  const range = Object.entries(query).map(([key, value]) => `${key}=${value}`).join("&");
  const [id, encoded] = [encodeURIComponent(deviceId), encodeURIComponent(name)];
  const isPlain = ![deviceId, name].some((text) => [".", "..", "by-id"].includes(text));
  return isPlain
    ? `/devices/${id}/values/${encoded}?${range}`
    : `/devices/by-id/values?id=${id}&name=${encoded}&${range}`;
}
