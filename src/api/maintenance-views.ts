/** The API's views of maintenance: plans, and drains with the result of each move. */
import { Type } from 'typebox';
import { nullable, oneOf, strict, type View } from './common.ts';

const text = Type.String();
const time = Type.String({ description: 'RFC 3339 time in UTC with milliseconds' });
const bytes = Type.Integer({ minimum: 0 });
const revision = Type.String({ description: 'revision of the object in the store; send it back as If-Match' });

const moveFields = {
  id: Type.Integer({ description: 'number within the drain' }),
  vm: text,
  from: text,
  to: text,
  after: Type.Array(Type.Integer(), { description: 'moves that must have ended before this one begins' }),
  why: oneOf(['evacuate', 'make-room', 'by-way', 'return']),
  memoryBytes: bytes,
  foretoldMs: Type.Number({ description: 'how long the move was predicted to take' }),
  foretoldPauseMs: Type.Number({ description: 'the predicted pause of the guest' }),
  writesBytesPerSecond: nullable(
    Type.Number({ description: 'how fast its guest wrote to memory when it was planned; null: not measured' }),
  ),
  remedy: nullable(
    oneOf(['slow-down', 'longer-pause', 'stop'], {
      description: 'the measure for a guest that writes faster than it is copied; null: none is needed',
    }),
  ),
};

export const DrainPlanSchema = Type.Object(
  {
    hosts: Type.Array(text),
    durationMs: Type.Number({ description: 'predicted, from the first move to the last' }),
    movedBytes: bytes,
    endsAt: Type.String({ description: 'if it began now, as RFC 3339 time' }),
    fits: nullable(Type.Boolean({ description: 'whether it would end by the deadline; null: none was given' })),
    moves: Type.Array(Type.Object({ ...moveFields, startsAtMs: Type.Number() }, strict)),
    heldBack: Type.Array(Type.String(), { description: 'guest clusters whose quiet hours delay moves now' }),
    awaited: Type.Array(Type.String(), { description: 'VMs that are on their way to the hosts: their moves wait' }),
    lost: Type.Array(
      Type.Object(
        {
          host: text,
          since: time,
          reason: text,
          vms: Type.Array(Type.Object({ vm: text, what: text }, strict), {
            description: 'the fate of the VMs that it had',
          }),
        },
        strict,
      ),
      { description: 'those of the hosts that are lost: no VM is moved from there' },
    ),
  },
  { ...strict, title: 'DrainPlan', description: 'the effect of a drain now; a second program has proven the plan' },
);
export type DrainPlan = View<typeof DrainPlanSchema>;

export const NodeDrainPlanSchema = Type.Object(
  {
    node: text,
    consequences: Type.Array(Type.String(), { description: 'a sentence for each thing that would change, or stay' }),
  },
  {
    ...strict,
    title: 'NodeDrainPlan',
    description: 'the effect of taking a control or storage node out of service now',
  },
);
export type NodeDrainPlan = View<typeof NodeDrainPlanSchema>;

const MOVE_TIMES = { startsAtMs: Type.Number(), converges: Type.Boolean() };

export const MaintenancePlanSchema = Type.Object(
  {
    hash: Type.String({
      description: 'SHA-256 of the approved content: hosts, waves, where each VM goes, their times, and the limits',
    }),
    madeAt: time,
    maxUnavailable: Type.Integer(),
    perRack: nullable(Type.Integer()),
    parallel: Type.Integer(),
    durationMs: Type.Number({ description: 'predicted for all moves, without the work on the hosts' }),
    movedBytes: bytes,
    waves: Type.Array(
      Type.Object(
        {
          hosts: Type.Array(text),
          durationMs: Type.Number({ description: 'predicted, from the first move to the last' }),
          moves: Type.Array(
            Type.Object({ ...moveFields, vmId: text, guestCluster: nullable(text), ...MOVE_TIMES }, strict),
          ),
        },
        strict,
      ),
    ),
  },
  {
    ...strict,
    title: 'MaintenancePlan',
    description: 'maintenance of many hosts, wave after wave; the plan was proven by a second program',
  },
);
export type MaintenancePlan = View<typeof MaintenancePlanSchema>;

const DRAIN_STATES = ['running', 'paused', 'cancelling', 'drained', 'returned', 'cancelled'] as const;

const drainFields = {
  id: text,
  revision,
  hosts: Type.Array(text),
  home: nullable(Type.String({ description: 'host that VMs are brought back to; null: hosts are emptied' })),
  by: nullable(Type.String({ description: 'no move begins that would end later; RFC 3339 time' })),
  state: oneOf(DRAIN_STATES),
  who: Type.String({ description: 'name of the token that asked for it' }),
  reason: nullable(text),
  change: nullable(text),
  quietOverride: nullable(Type.Object({ owner: text, reason: text }, strict)),
  parallel: Type.Integer(),
  task: Type.String({ description: 'id of the task that ends with the drain' }),
  stuck: nullable(Type.String({ description: 'why the rest cannot continue now' })),
  waits: nullable(
    Type.Object(
      { what: text, since: time },
      { ...strict, description: 'the reason why its next moves wait; null: they do not' },
    ),
  ),
  moved: Type.Integer({ description: 'moves that were made' }),
  planned: Type.Integer({ description: 'moves that were made, are to be made, or are no longer needed' }),
  createdAt: time,
  endedAt: nullable(time),
};

export const DrainSummarySchema = Type.Object(drainFields, { ...strict, title: 'DrainSummary' });
export type DrainSummary = View<typeof DrainSummarySchema>;

export const DrainSchema = Type.Object(
  {
    ...drainFields,
    moves: Type.Array(
      Type.Object(
        {
          ...moveFields,
          state: oneOf(['waiting', 'moving', 'moved', 'gone']),
          startedAt: nullable(time),
          endedAt: nullable(time),
          measuredPauseMs: nullable(Type.Number()),
          note: nullable(text),
        },
        strict,
      ),
    ),
    deviations: Type.Array(Type.Object({ at: time, what: text }, strict), {
      description: 'differences from the prediction, oldest first',
    }),
    heldBack: Type.Array(Type.String(), { description: 'guest clusters whose quiet hours delay moves now' }),
    guestClusters: Type.Array(
      Type.Object(
        {
          name: text,
          members: Type.Array(text, { description: 'that were moved' }),
          maxDisturbed: Type.Integer(),
          movedAtOnce: Type.Integer({ description: 'members that were moving at once, at most' }),
          toleratesMs: Type.Number(),
          longestPauseMs: nullable(Type.Number()),
          restarted: Type.Array(text),
        },
        strict,
      ),
      { description: 'guest clusters whose members were moved, once the drain is over' },
    ),
    roll: nullable(Type.String({ description: 'the roll of which it is a wave' })),
  },
  { ...strict, title: 'Drain' },
);
export type Drain = View<typeof DrainSchema>;
