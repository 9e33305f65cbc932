/** The user's own prices: `costs.yaml`. */
import { parse } from 'yaml';
import type { Prices } from '../findings/cures.ts';

const NUMBERS = ['approval', 'downtime_minute', 'gib'] as const;

/** Parses the prices; returns the problem as text if the file is invalid. */
export function pricesOf(text: string): Prices | string {
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0 });
  } catch (error) {
    return `it is not YAML: ${error instanceof Error ? error.message.split('\n')[0] : ''}`;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'it holds no fields';
  const fields = value as Readonly<Record<string, unknown>>;
  const unknown = Object.keys(fields).find((name) => name !== 'currency' && !NUMBERS.some((known) => known === name));
  if (unknown !== undefined) return `it has a field "${unknown}", known are currency, ${NUMBERS.join(', ')}`;
  for (const name of NUMBERS) {
    const number = fields[name] ?? 0;
    if (typeof number !== 'number' || !Number.isFinite(number) || number < 0 || number > 1e9)
      return `${name} is not a number from 0 to 1000000000`;
  }
  const number = (name: (typeof NUMBERS)[number]): number => Number(fields[name] ?? 0);
  const currency = fields['currency'] ?? '';
  if (typeof currency !== 'string' || currency.length > 8) return 'currency is not a short text';
  return { currency, approval: number('approval'), downtimeMinute: number('downtime_minute'), gib: number('gib') };
}
