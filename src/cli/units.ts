/** Sizes, durations and numbers as people write them: parsed strictly, printed shortly. */

import { CodedError } from '../base/errors.ts';
import { own } from '../base/own.ts';

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };
const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

function refused(text: string, what: string, example: string): CodedError {
  return new CodedError('bad-input', `${JSON.stringify(text.slice(0, 40))} is not ${what}.`, {
    advice: `Nothing was changed. Write it like ${example}.`,
  });
}

/** Bytes of `512M`, `1G`, `1.5G`, `1GiB`, `4096`: units are powers of 1024. Throws `bad-input`. */
export function parseSize(text: string): number {
  const match = /^([0-9]{1,15}(?:\.[0-9]{1,3})?)([KMGT]?)(?:iB|B)?$/i.exec(text);
  const bytes = Number(match?.[1]) * (own(SIZE_UNITS, (match?.[2] ?? '').toUpperCase()) ?? Number.NaN);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) throw refused(text, 'a size', '512M, 1.5G or 1048576');
  return bytes;
}

/** Milliseconds of `500ms`, `30s`, `5m`, `1h`; a unit is needed. Throws `bad-input`. */
export function parseDuration(text: string): number {
  const match = /^([0-9]{1,9})(ms|s|m|h)$/.exec(text);
  const ms = Number(match?.[1]) * (own(DURATION_UNITS, match?.[2] ?? '') ?? Number.NaN);
  if (!Number.isSafeInteger(ms)) throw refused(text, 'a duration', '500ms, 30s or 5m');
  return ms;
}

/** Parses an RFC 3339 time, or a duration before `nowMs` (Unix ms), to RFC 3339 text in UTC. Throws `bad-input`. */
export function parseSince(text: string, nowMs: number = Date.now()): string {
  if (/^[0-9]+(ms|s|m|h)$/.test(text)) return new Date(nowMs - parseDuration(text)).toISOString();
  return parseTime(text, 'a time or a duration', '2026-05-01T12:00:00Z, or 10m for ten minutes ago');
}

/**
 * Parses a deadline to RFC 3339 text in UTC: a time of the day, today or tomorrow, in this machine's zone, or an RFC 3339
 * time. Throws `bad-input`.
 */
export function parseDeadline(text: string, nowMs: number = Date.now()): string {
  const [, hours, minutes] = /^([01][0-9]|2[0-3]):([0-5][0-9])$/.exec(text) ?? [];
  if (hours === undefined) return parseTime(text, 'a deadline', '18:00, or 2026-05-01T18:00:00Z');
  const at = new Date(nowMs);
  at.setHours(Number(hours), Number(minutes), 0, 0);
  if (at.getTime() <= nowMs) at.setDate(at.getDate() + 1);
  return at.toISOString();
}

function parseTime(text: string, what: string, example: string): string {
  const isTime = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$/.test(
    text,
  );
  const at = isTime ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) throw refused(text, what, example);
  return new Date(at).toISOString();
}

/**
 * Parses a date (its end, in UTC) or an RFC 3339 time to RFC 3339 text in UTC. Throws `bad-input`, also where it has
 * passed.
 */
export function parseUntil(text: string, nowMs: number = Date.now()): string {
  const isDate = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text);
  const isTime =
    /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})$/.test(text);
  const at = isDate ? Date.parse(`${text}T23:59:59Z`) : isTime ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at) || (isDate && new Date(at).toISOString().slice(0, 10) !== text))
    throw refused(text, 'a date', '2026-12-31, or 2026-12-31T18:00:00Z');
  if (at <= nowMs) throw refused(text, 'a date that is to come', '2026-12-31');
  return new Date(at).toISOString();
}

/** A whole number of at least `min`. Throws `bad-input`. */
export function parseCount(text: string, min = 1): number {
  const count = Number(text);
  if (!/^[0-9]{1,9}$/.test(text) || count < min) throw refused(text, `a whole number of at least ${min}`, String(min));
  return count;
}

/** `1 GiB`, `512 MiB`, `1.5 GiB`, `37 B`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit] ?? ''}`;
}

/** `0.4 s`, `12 s`, `4 min`, `2.5 h`: rounded up. */
export function formatDuration(ms: number): string {
  if (ms < 10_000) return `${Math.ceil(ms / 100) / 10} s`;
  if (ms < 120_000) return `${Math.ceil(ms / 1_000)} s`;
  return ms < 7_200_000 ? `${Math.ceil(ms / 60_000)} min` : `${Math.ceil(ms / 360_000) / 10} h`;
}

/** `3s`, `5m`, `2h`, `4d`: whole units, rounded down. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3_600)}h` : `${Math.floor(seconds / 86_400)}d`;
}

/** `0.4 s`, `12 s`, `3 min`, `2 h 5 min`: rounded, for what is predicted. */
export function formatSpan(ms: number): string {
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 90_000) return `${Math.round(ms / 1_000)} s`;
  const minutes = Math.round(ms / 60_000);
  if (minutes < 60) return `${minutes} min`;
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
