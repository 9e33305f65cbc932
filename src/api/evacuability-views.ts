/** The API's views of whether hosts can be drained and lost. */
import { Type } from 'typebox';
import { nullable, oneOf, strict, type View } from './common.ts';

const Possible = oneOf(['yes', 'no', 'unknown'], {
  description:
    'as the leader keeps it, at most some 100 ms old; unknown: a new leader has not looked at everything yet',
});
const because = Type.Array(Type.String(), { description: 'why not: a line for each of a few VMs' });
export const HostEvacuabilitySchema = Type.Object(
  {
    drain: Type.Object(
      {
        possible: Possible,
        foretoldMs: nullable(Type.Integer({ minimum: 0, description: 'how long a drain would take' })),
        moves: nullable(Type.Integer({ minimum: 0, description: 'migrations that it would take' })),
        movedBytes: nullable(Type.Integer({ minimum: 0 })),
        because,
      },
      { ...strict, description: 'whether the host can be drained now' },
    ),
    loss: Type.Object(
      {
        possible: Possible,
        tied: Type.Array(Type.String(), { description: 'VMs that are tied to the host: they would be lost with it' }),
        because,
      },
      { ...strict, description: 'whether all its other VMs would restart elsewhere if the host were lost now' },
    ),
  },
  { ...strict, title: 'HostEvacuability' },
);
export type HostEvacuability = View<typeof HostEvacuabilitySchema>;

const Answers = (description: string) =>
  Type.Object(
    {
      possible: Possible,
      hosts: Type.Integer({ minimum: 0, description: 'hosts with the answer yes' }),
      refused: Type.Integer({ minimum: 0, description: 'hosts with the answer no' }),
      because: Type.Array(Type.String(), { description: 'a line for each of a few hosts with the answer no' }),
    },
    { ...strict, description },
  );
export const ClusterEvacuabilitySchema = Type.Object(
  {
    drain: Answers('whether every host can be drained now'),
    loss: Answers('whether any host may be lost now'),
  },
  { ...strict, title: 'ClusterEvacuability' },
);
export type ClusterEvacuability = View<typeof ClusterEvacuabilitySchema>;
