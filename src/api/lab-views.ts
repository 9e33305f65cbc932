/** The lab of a one-machine cluster: its machines, and the faults that can be injected into them. */
import { Type } from 'typebox';
import { Name, strict, type View } from './common.ts';

const text = Type.String();

export const LabSchema = Type.Object(
  {
    machines: Type.Array(
      Type.Object(
        {
          name: text,
          kind: Type.String({ description: 'control, storage or host' }),
          power: Type.String({ description: 'on or off' }),
          cutFrom: Type.Array(text, { description: 'networks from which it is cut' }),
          processes: Type.Array(
            Type.Object({ role: text, state: Type.String({ description: 'running, dead, frozen …' }) }, strict),
          ),
        },
        strict,
      ),
    ),
    faults: Type.Array(
      Type.Object(
        {
          verb: Type.String({ description: 'as `gp lab` takes it' }),
          summary: text,
          on: Type.Array(text, { description: 'kinds of machines that it may be done to; empty: it takes none' }),
          takes: Type.Array(text, { description: 'its other parameters: once, forSeconds, serviceOnly' }),
        },
        strict,
      ),
    ),
  },
  { ...strict, title: 'Lab' },
);
export type Lab = View<typeof LabSchema>;

export const InjectFaultSchema = Type.Object(
  {
    verb: Type.String({ pattern: '^[a-z-]{1,40}$', description: 'one of `faults` of GET /v1/lab' }),
    target: Type.Optional(Name),
    once: Type.Optional(Type.Boolean({ description: 'a killed process is restarted at once' })),
    forSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 3_600, description: 'undone after so long' })),
    serviceOnly: Type.Optional(Type.Boolean({ description: 'of kill-storage: the service, not the disk servers' })),
  },
  { ...strict, title: 'InjectFault' },
);
export type InjectFault = View<typeof InjectFaultSchema>;
