/** Rolls as the API shows them. */
import { Type } from 'typebox';
import { nullable, oneOf, strict, type View } from './common.ts';

const text = Type.String();
const time = Type.String({ description: 'RFC 3339 time in UTC with milliseconds' });
const revision = Type.String({ description: 'revision of the object in the store; send it back as If-Match' });

const rollFields = {
  id: text,
  revision,
  hash: Type.String({ description: 'SHA-256 of the approved plan' }),
  state: oneOf(['running', 'paused', 'aborting', 'completed', 'aborted']),
  held: nullable(Type.String({ description: 'why no further host begins now' })),
  waitsFor: nullable(Type.String({ description: 'the work that no runner has taken' })),
  who: Type.String({ description: 'name of the token that asked for it' }),
  reason: nullable(text),
  change: nullable(text),
  quietOverride: nullable(Type.Object({ owner: text, reason: text }, strict)),
  windows: Type.Array(text),
  waves: Type.Integer(),
  planned: Type.Integer({ description: 'hosts of the roll' }),
  done: Type.Integer({ description: 'hosts that are in service again' }),
  failed: Type.Integer(),
  task: Type.String({ description: 'id of the task that ends with the roll' }),
  createdAt: time,
  endedAt: nullable(time),
};

export const RollSummarySchema = Type.Object(rollFields, { ...strict, title: 'RollSummary' });
export type RollSummary = View<typeof RollSummarySchema>;

const rollStep = oneOf(['pre', 'run', 'verify']);

export const RollSchema = Type.Object(
  {
    ...rollFields,
    maxUnavailable: Type.Integer(),
    perRack: nullable(Type.Integer()),
    parallel: Type.Integer(),
    onFailure: oneOf(['stop', 'continue']),
    freezes: Type.Array(Type.Object({ from: time, until: time, reason: text }, strict)),
    commands: Type.Object(
      {
        ...{ pre: nullable(text), run: nullable(text), verify: nullable(text) },
        ...{ preMs: Type.Number(), runMs: Type.Number(), verifyMs: Type.Number() },
      },
      strict,
    ),
    workMs: Type.Number({ description: 'how long the work on one host is expected to take' }),
    backMs: Type.Number({ description: 'within how long its agent answers after its work' }),
    drains: Type.Array(text, { description: 'ids of the drains that emptied its hosts, in order' }),
    foretold: Type.Array(
      Type.Object(
        {
          durationMs: Type.Number({ description: 'duration of its moves, without the work on its hosts' }),
          pauseMs: Type.Number({ description: 'the longest of its guests' }),
          moves: Type.Integer(),
        },
        strict,
      ),
      { description: 'the approved content of each wave, in order' },
    ),
    forecast: Type.Array(
      Type.Object(
        {
          from: time,
          until: nullable(time),
          waves: Type.Array(Type.Integer({ description: 'from 1' })),
        },
        strict,
      ),
      { description: 'which of the waves that are left would begin in which window' },
    ),
    wouldNotFit: Type.Array(Type.Integer({ description: 'from 1' }), {
      description: 'waves that are left, and that no window within reach has time for',
    }),
    hosts: Type.Array(
      Type.Object(
        {
          host: text,
          wave: Type.Integer({ description: 'from 1' }),
          state: oneOf(['waiting', 'pre', 'ready', 'draining', 'run', 'back', 'verify', 'done', 'failed', 'skipped']),
          since: time,
          drain: nullable(text),
          work: nullable(Type.Object({ step: rollStep, by: text, startedAt: time, until: time }, strict)),
          done: Type.Array(
            Type.Object(
              { step: rollStep, by: text, startedAt: time, endedAt: time, succeeded: Type.Boolean(), message: text },
              strict,
            ),
          ),
          note: nullable(text),
        },
        strict,
      ),
    ),
    deviations: Type.Array(Type.Object({ at: time, what: text }, strict), {
      description: 'differences from the approved plan, oldest first',
    }),
  },
  { ...strict, title: 'Roll' },
);
export type Roll = View<typeof RollSchema>;
