/** The Prometheus text exposition format, version 0.0.4. */
import { inTurns } from '../../os/turns.ts';
import type { MetricFamily } from './call.ts';

export const PROMETHEUS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/**
 * Formats metric families as text, in the given order; works in short turns of the event loop, because there may be a
 * sample for every VM.
 */
export async function prometheusText(families: readonly MetricFamily[]): Promise<string> {
  const lines: string[] = [];
  for (const family of families) {
    lines.push(`# HELP ${family.name} ${family.help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`);
    lines.push(`# TYPE ${family.name} ${family.type}`);
    await inTurns(family.samples, ({ labels, value }) => {
      lines.push(`${family.name}${labelText(labels)} ${number(value)}`);
    });
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

function labelText(of: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(of).map(([key, value]) => `${key}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

const escapeLabel = (value: string): string =>
  value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');

function number(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value);
}
