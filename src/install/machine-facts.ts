/**
 * Judges the facts about a machine. Pure: install/checks.ts collects them. Guarantees: an uncertain fact is not called
 * wrong.
 */
import { counted } from '../base/counted.ts';
import { listed } from '../base/listed.ts';
import type { ClockOffset } from '../core/model/clock-offset.ts';
import { fits, releaseOf } from '../core/model/cluster-release.ts';

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
    advice: 'Only people who look for the machine depend on it.',
  };
}

/** Versions of Groundplane around a machine. */
export interface Versions {
  /** Of the package that is installed. */
  readonly installed: string;
  /** Of its services that run; null: the service does not say it. */
  readonly running: readonly { readonly service: string; readonly version: string | null }[];
  /** Release of the cluster; null: no control node says it. */
  readonly cluster: string | null;
}

/** Judges them: a service that runs another version than the installed one, and a release that does not fit. */
export function judgeVersions({ installed, running, cluster }: Versions): Judged {
  const own = releaseOf(installed);
  if (own !== null && cluster !== null && !fits(own, cluster))
    return {
      level: 'bad',
      found: `Version ${installed} is installed, and the cluster has release ${cluster}.`,
      advice: `Install a package of release ${cluster} or of the one after it: this machine waits until then.`,
    };
  const others = running.filter(({ version }) => version !== installed);
  if (others.length > 0) {
    const services = others.map(({ service }) => service);
    const says = others.map(({ service, version }) => `${service} runs ${version ?? 'a version that it does not say'}`);
    return {
      level: 'warning',
      found: `Version ${installed} is installed; ${listed(says)}.`,
      advice: `\`systemctl restart ${services.join(' ')}\` disturbs no VM.`,
    };
  }
  const found = `${installed}${cluster === null ? '' : `; the cluster has release ${cluster}`}`;
  if (cluster === null || own === cluster) return { level: 'ok', found };
  return { level: 'ok', found, advice: 'When all is well, `gp cluster finalize` raises it.' };
}

/** A program that a role needs, and the versions that it is tried with: from the first, below the second. */
export interface WantedProgram {
  readonly program: string;
  readonly from: readonly [major: number, minor: number];
  readonly below?: readonly [major: number, minor: number];
}

/** Judges the versions that programs print; null: the program is missing. */
export function judgePrograms(
  printed: readonly { readonly wanted: WantedProgram; readonly text: string | null }[],
): Judged {
  const isOlder = (a: readonly number[], [major, minor]: readonly [number, number]): boolean =>
    (a[0] ?? 0) < major || (a[0] === major && (a[1] ?? 0) < minor);
  const good: string[] = [];
  const wrong: string[] = [];
  for (const { wanted, text } of printed) {
    const { program, from, below } = wanted;
    const version = /(?:version:?|Version:?) (\d+(?:\.\d+)+)/.exec(text ?? '')?.[1];
    const numbers = version?.split('.').map(Number);
    const range = `${from.join('.')} or newer${below === undefined ? '' : `, older than ${below.join('.')}`}`;
    if (text === null) wrong.push(`${program} is missing (wanted: ${range})`);
    else if (numbers === undefined) wrong.push(`${program} does not say its version (wanted: ${range})`);
    else if (isOlder(numbers, from) || (below !== undefined && !isOlder(numbers, below)))
      wrong.push(`${program} is ${version} (wanted: ${range})`);
    else good.push(`${program} ${version}`);
  }
  if (wrong.length === 0) return { level: 'ok', found: good.join(', ') };
  return {
    level: 'bad',
    found: `${wrong.join('; ')}.`,
    advice:
      '`apt-get install --reinstall groundplane` brings what the package depends on; hold packages of other sources.',
  };
}

/** Judges the QEMUs that run from a file that was replaced since. */
export function judgeQemus({ running, replaced }: { readonly running: number; readonly replaced: number }): Judged {
  if (replaced === 0) return { level: 'ok', found: running === 0 ? 'none runs' : `${running} run` };
  const vms = counted(replaced, 'VM');
  return {
    level: 'ok',
    found: `${running} run, ${vms} on a QEMU from before an upgrade`,
    advice: `A VM gets the present one when it moves or starts: \`gp host drain\` moves all.`,
  };
}

/** The health of a control node, which it tells everybody (GET /healthz). */
export interface ControlHealth {
  readonly name: string;
  readonly leader: string | null;
  readonly waitingFor: string | null;
  readonly version: string | null;
  readonly release: string | null;
}

/** Judges the health that the server of a control node states. */
export function judgeHealth(address: string, { name, leader, waitingFor }: ControlHealth): Judged {
  if (waitingFor !== null)
    return { level: 'bad', found: `${name} at ${address} waits for ${waitingFor.replace(/\.$/, '')}.` };
  if (leader !== null) return { level: 'ok', found: `${leader} leads` };
  return {
    level: 'bad',
    found: `${name} at ${address} knows of no leader.`,
    advice: 'A majority of the control nodes must run and reach each other; VMs run on meanwhile.',
  };
}
