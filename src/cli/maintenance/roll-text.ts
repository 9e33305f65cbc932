/** A roll as people read it in a terminal. */
import type { Roll, RollSummary } from '../../api/roll-views.ts';
import type { Presentation } from '../session.ts';
import { formatFields, formatTable } from '../table.ts';
import { formatAge } from '../units.ts';

export const ROLL_TABLE: Presentation<RollSummary> = {
  header: ['ID', 'HOSTS', 'STATE', 'DONE', 'WHO', 'CHANGE', 'AGE'],
  row: (roll) => [
    roll.id,
    `${roll.planned} in ${roll.waves} waves`,
    roll.held === null ? roll.state : `${roll.state}, held`,
    `${roll.done} of ${roll.planned}${roll.failed === 0 ? '' : `, ${roll.failed} failed`}`,
    roll.who,
    roll.change ?? '-',
    formatAge(Date.now() - Date.parse(roll.createdAt)),
  ],
  name: (roll) => roll.id,
};

/** Describes the whole roll, then each host. */
export function describeRoll(roll: Roll): string {
  const { commands } = roll;
  const fields = formatFields([
    ['Id', roll.id],
    ['State', roll.state],
    ['Held', roll.held ?? 'no'],
    ['Waits for', roll.waitsFor ?? 'nobody'],
    ['Plan', roll.hash],
    ['Asked by', roll.who],
    ['Reason', roll.reason ?? '-'],
    ['Change', roll.change ?? '-'],
    ...(roll.quietOverride === null
      ? []
      : [['Quiet hours', `overridden by ${roll.quietOverride.owner}: ${roll.quietOverride.reason}`] as const]),
    ['Windows', roll.windows.length === 0 ? 'at any time' : roll.windows],
    ['Freezes', roll.freezes.map(({ from, until, reason }) => `${from} to ${until}: ${reason}`)],
    ['Hosts away', `at most ${roll.maxUnavailable}${roll.perRack === null ? '' : `, ${roll.perRack} of a rack`}`],
    ['Before', commands.pre ?? '-'],
    ['Work', commands.run ?? '-'],
    ['Check', commands.verify ?? '-'],
    ['Began', roll.createdAt],
    ['Ended', roll.endedAt ?? '-'],
    [
      'Forecast',
      roll.forecast.map(({ from, until, waves }) => `${from} to ${until ?? 'ever'}: waves ${waves.join(', ')}`),
    ],
    ['Does not fit', roll.wouldNotFit.length === 0 ? '-' : `waves ${roll.wouldNotFit.join(', ')}`],
    ['Deviations', roll.deviations.map(({ at, what }) => `${at} ${what}`)],
  ]);
  const rows = roll.hosts.map((host) => [
    String(host.wave),
    host.host,
    host.state,
    host.since,
    host.drain ?? '-',
    host.note ?? '-',
  ]);
  return `${fields}\n${formatTable(['WAVE', 'HOST', 'STATE', 'SINCE', 'DRAIN', 'NOTE'], rows)}`;
}
