/**
 * Judges the facts about a machine. Pure: install/checks.ts collects them. Guarantees: an uncertain fact is not called
 * wrong.
 */
import type { ClockOffset } from '../core/model/clock-offset.ts';

/** The result of a check, without its name. */
export interface Judged {
  readonly level: 'ok' | 'warning' | 'bad';
  readonly found: string;
  readonly advice?: string | undefined;
}

/** Certificates are valid from before they are made; more than that is refused by the other side, in ms. */
const CLOCK_BAD_MS = 10 * 60_000;
const CLOCK_WARNING_MS = 30_000;
const SECOND_MS = 1_000;

/** Judges /etc/hosts. */
export function judgeHosts(text: string): Judged {
  if (/^127\.0\.0\.1\s(.*\s)?localhost(\s|$)/m.test(text)) return { level: 'ok', found: '127.0.0.1 localhost' };
  return {
    level: 'bad',
    found: '/etc/hosts has no line "127.0.0.1 localhost".',
    advice: 'Add it: etcd and systemd ask for that name.',
  };
}

/** Judges the difference of another machine's clock from ours. */
export function judgeClock(machine: string, { offsetMs, errorMs }: ClockOffset): Judged {
  const certainMs = Math.abs(offsetMs) - errorMs;
  if (certainMs <= CLOCK_WARNING_MS) return { level: 'ok', found: `answers; its clock is this machine's` };
  const seconds = Math.round(Math.abs(offsetMs) / SECOND_MS);
  return {
    level: certainMs > CLOCK_BAD_MS ? 'bad' : 'warning',
    found: `The clock of ${machine} is ${seconds} s ${offsetMs > 0 ? 'ahead of' : 'behind'} this machine's.`,
    advice: 'Run chrony or systemd-timesyncd on both: certificates and events depend on the time.',
  };
}

/** Judges the name of a machine: people who look for the machine type the name that the cluster uses. */
export function judgeName(name: string, hostname: string): Judged {
  if (hostname.split('.')[0] === name) return { level: 'ok', found: name };
  return {
    level: 'warning',
    found: `The cluster calls this machine ${name}, and its host name is ${hostname}.`,
    advice: 'Nothing depends on it but whoever looks for the machine.',
  };
}
