/** Ties that somebody must sign for, and those that were signed: requests and answers of the API. */
import { Type } from 'typebox';
import { OWNER_CHARS_MAX, REASON_CHARS_MAX } from '../core/model/debt.ts';
import { nullable, oneOf, Remark, strict, type View } from './common.ts';

export const AcceptSchema = Type.Object(
  {
    owner: Remark(OWNER_CHARS_MAX, 'who answers for it'),
    reason: Remark(REASON_CHARS_MAX, 'why it is accepted'),
    until: Type.String({
      maxLength: 40,
      pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$',
      description: 'RFC 3339 time when it becomes due',
    }),
  },
  {
    ...strict,
    title: 'Accept',
    description: 'somebody signs for ties, and for hosts that cannot be drained or lost after the change',
  },
);
export type Accept = View<typeof AcceptSchema>;

const text = Type.String();
const time = Type.String({ description: 'RFC 3339 time in UTC with milliseconds' });

export const TieSchema = Type.Object(
  {
    debt: nullable(Type.String({ description: 'id of the debt; null: nobody signed for this tie' })),
    kind: oneOf(['pin', 'cpu-model', 'guest-cluster', 'room'], {
      description:
        'room: a change after which hosts could not be drained, or lost, any more; about a host: that host cannot, and no request caused that',
    }),
    about: Type.Object({ kind: oneOf(['vm', 'guest-cluster', 'host']), name: text }, strict),
    what: text,
    owner: nullable(text),
    reason: nullable(text),
    by: nullable(Type.String({ description: 'name of the token that asked for it' })),
    since: nullable(time),
    until: nullable(time),
    isDue: Type.Boolean({ description: 'the date has passed' }),
    costs: Type.Object(
      {
        undrainable: Type.Array(text, { description: 'hosts that cannot be drained now because of it' }),
        unlosable: Type.Array(text, { description: 'hosts that may not be lost now because of it' }),
        vms: Type.Array(text, { description: 'VMs that stand in the way there' }),
      },
      { ...strict, description: 'its present cost, as the leader has computed it' },
    ),
  },
  { ...strict, title: 'Tie' },
);
export type Tie = View<typeof TieSchema>;

/** The additional fields of problem details with the code `needs-acceptance`. */
export const ToAcceptSchema = Type.Object(
  {
    ties: Type.Array(Type.Object({ kind: oneOf(['pin', 'cpu-model', 'guest-cluster']), what: text }, strict)),
    broken: Type.Array(
      Type.Object(
        {
          host: text,
          question: oneOf(['drain', 'loss']),
          because: Type.Array(Type.String({ description: 'a VM without a place, and why some hosts cannot take it' })),
        },
        strict,
      ),
      { description: 'hosts that could not be drained, or lost, after the change' },
    ),
    moreBroken: Type.Integer({ description: 'how many more of them there are' }),
  },
  { ...strict, title: 'ToAccept', description: 'the ties and verdicts to sign for: `accept` in the same request' },
);
