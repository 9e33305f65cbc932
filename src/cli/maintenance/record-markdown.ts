/**
 * Plans, drains and rolls as a change's documents, in Markdown: before as implementation and back-out plan, afterwards
 * as the evidence. Pure. Text of others is written so that it cannot become markup.
 */
import type { Drain, MaintenancePlan } from '../../api/maintenance-views.ts';
import type { Roll } from '../../api/roll-views.ts';
import { formatBytes, formatSpan } from '../units.ts';

/** A cell or word of a text, without markup and line breaks. */
const plain = (text: string): string =>
  text.replaceAll(/\s+/g, ' ').replaceAll(/[\\`*_{}[\]<>#|!~]/g, (character) => `\\${character}`);

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(plain).join(' | ')} |\n`;
  return `${line(header)}|${header.map(() => '---|').join('')}\n${rows.map(line).join('')}`;
}

const ms = (value: number | null): string => (value === null ? 'not known' : `${Math.round(value)} ms`);

/** The plan before a drain: the actions, their order and duration, and how to go back. */
export function planMarkdown(plan: MaintenancePlan): string {
  const moves = plan.waves.flatMap((wave) => wave.moves);
  const hosts = plan.waves.flatMap((wave) => wave.hosts);
  const longest = Math.max(0, ...moves.map(({ foretoldPauseMs }) => foretoldPauseMs));
  const clusters = [...new Set(moves.flatMap(({ guestCluster }) => guestCluster ?? []))].sort();
  const perRack = plan.perRack === null ? '' : `, and ${plan.perRack} of one rack`;
  return `# Implementation plan

Plan \`${plan.hash}\`, made ${plan.madeAt}.

${hosts.length} hosts are emptied in ${plan.waves.length} waves, worked on, and taken back into service. At most ${plan.maxUnavailable} hosts are away at once${perRack}.
${moves.length} live migrations move ${formatBytes(plan.movedBytes)}; no VM is stopped. The longest predicted pause of a guest is ${ms(longest)}.
All moves together take about ${formatSpan(plan.durationMs)}, the work on the hosts not included.
Guest clusters whose members move: ${clusters.length === 0 ? 'none' : clusters.map(plain).join(', ')}. Members move one by one, within each cluster's limits.

${plan.waves.map(planWave).join('\n')}
## Before each wave

Every move that is left is planned anew and proven by a second program against the state of that moment. What has to
go otherwise than in this plan is recorded as a deviation. Nothing begins while a host is down that nobody took down.

## Back-out plan

1. \`gp maintenance pause ROLL\`: nothing more begins; moves under way end.
2. \`gp maintenance abort ROLL\`: moves under way end, hosts whose work has not begun are taken back into service. VMs
   stay where they are then: each runs, and none needs to move back.
3. A host on which the work failed stays in maintenance, empty. It is repaired, then \`gp host undrain HOST\`.
`;
}

function planWave({ hosts, moves, durationMs }: MaintenancePlan['waves'][number], index: number): string {
  const title = `## Wave ${index + 1}: ${hosts.map(plain).join(', ')}\n\nAbout ${formatSpan(durationMs)}.\n`;
  if (moves.length === 0) return `${title}\nNo VM has to move.\n`;
  const rows = moves.map((move) => [
    move.vm,
    move.guestCluster ?? '-',
    move.from,
    move.to,
    formatBytes(move.memoryBytes),
    formatSpan(move.startsAtMs),
    formatSpan(move.foretoldMs),
    ms(move.foretoldPauseMs),
  ]);
  return `${title}\n${table(['VM', 'Guest cluster', 'From', 'To', 'Memory', 'Begins', 'Takes', 'Pause'], rows)}`;
}

/** The history of a drain. */
export function drainMarkdown(drain: Drain): string {
  return `# Record of ${drain.id}\n\n${facts([
    ['Hosts', drain.hosts.join(', ')],
    ['State', drain.state],
    ['Asked by', drain.who],
    ['Reason', drain.reason ?? '-'],
    ['Change', drain.change ?? '-'],
    ['Quiet hours', signedWords(drain)],
    ['Began', drain.createdAt],
    ['Ended', drain.endedAt ?? '-'],
  ])}\n${drainSections(drain, '##')}`;
}

/** The signature for moves in quiet hours of guest clusters. */
function signedWords({ quietOverride }: Pick<Drain, 'quietOverride'>): string {
  return quietOverride === null ? 'kept' : `overridden by ${quietOverride.owner}: ${quietOverride.reason}`;
}

function drainSections(drain: Drain, level: string): string {
  const rows = drain.moves.map((move) => [
    move.vm,
    move.from,
    move.to,
    move.state,
    formatSpan(move.foretoldMs),
    tookOf(move),
    ms(move.foretoldPauseMs),
    move.state === 'moved' ? ms(move.measuredPauseMs) : '-',
    move.note ?? '-',
  ]);
  const header = ['VM', 'From', 'To', 'State', 'Foretold', 'Took', 'Pause foretold', 'Pause measured', 'Note'];
  const moves = rows.length === 0 ? 'No VM had to move.\n' : table(header, rows);
  const clusters = drain.guestClusters.map((cluster) => [
    cluster.name,
    cluster.members.join(', '),
    `${cluster.movedAtOnce} of ${cluster.maxDisturbed}`,
    ms(cluster.longestPauseMs),
    ms(cluster.toleratesMs),
    cluster.restarted.length === 0 ? 'all ran on' : `restarted: ${cluster.restarted.join(', ')}`,
  ]);
  const clusterHeader = ['Guest cluster', 'Members moved', 'At once', 'Longest pause', 'Bears', 'How they fared'];
  const fared = clusters.length === 0 ? 'None was touched.\n' : table(clusterHeader, clusters);
  return `${level} What moved\n\n${moves}\n${level} Guest clusters\n\n${fared}\n${level} Deviations\n\n${deviations(drain.deviations)}`;
}

function tookOf({ startedAt, endedAt, state }: Drain['moves'][number]): string {
  if (state !== 'moved' || startedAt === null || endedAt === null) return '-';
  return formatSpan(Date.parse(endedAt) - Date.parse(startedAt));
}

function deviations(list: Drain['deviations']): string {
  if (list.length === 0) return 'None.\n';
  return list.map(({ at, what }) => `- ${at} ${plain(what)}\n`).join('');
}

function facts(rows: readonly (readonly [string, string])[]): string {
  return table(['', ''], rows);
}

/** The history of a roll, with the record of each of its drains. */
export function rollMarkdown(roll: Roll, drains: readonly Drain[]): string {
  const { commands } = roll;
  const hosts = roll.hosts.map((host) => [
    String(host.wave),
    host.host,
    host.state,
    host.since,
    host.drain ?? '-',
    host.note ?? '-',
  ]);
  const work = roll.hosts.flatMap(({ host, done }) =>
    done.map((each) => [
      host,
      each.step,
      each.startedAt,
      each.endedAt,
      each.succeeded ? 'succeeded' : 'failed',
      each.by,
      each.message.split('\n')[0] ?? '',
    ]),
  );
  const title = roll.endedAt === null ? `# ${roll.id}, so far` : `# Record of ${roll.id}`;
  return `${title}

${facts([
  ['State', roll.state],
  ['Approved plan', roll.hash],
  ['Asked by', roll.who],
  ['Reason', roll.reason ?? '-'],
  ['Change', roll.change ?? '-'],
  ['Quiet hours', signedWords(roll)],
  ['Windows', roll.windows.join('; ') || 'at any time'],
  ['Hosts away', `at most ${roll.maxUnavailable}${roll.perRack === null ? '' : `, ${roll.perRack} of a rack`}`],
  ['Before', commands.pre ?? '-'],
  ['Work', commands.run ?? '-'],
  ['Check', commands.verify ?? '-'],
  ['Began', roll.createdAt],
  ['Ended', roll.endedAt ?? '-'],
  ['Hosts done', `${roll.done} of ${roll.planned}`],
  ['Hosts failed', String(roll.failed)],
])}
## Hosts

${table(['Wave', 'Host', 'State', 'Since', 'Drain', 'Note'], hosts)}
## Work

${work.length === 0 ? 'No command ran.\n' : table(['Host', 'Work', 'Began', 'Ended', 'Outcome', 'By', 'Said'], work)}
## Deviations from the approved plan

${deviations(roll.deviations)}
${drains.map((drain) => `## ${drain.id}: ${drain.hosts.join(', ')} (${drain.state})\n\n${drainSections(drain, '###')}`).join('\n')}`;
}
