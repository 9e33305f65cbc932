/** The counters of a VM's use: a client that asks twice can compute rates. */
import { Type } from 'typebox';
import { nullable, strict, type View } from './common.ts';

const count = Type.Integer({ minimum: 0 });
const why = nullable(Type.String({ description: 'why they are not known; null: they are' }));

export const VmFiguresSchema = Type.Object(
  {
    at: Type.String({ description: 'RFC 3339 time in UTC with milliseconds, of the control node' }),
    host: Type.String(),
    generation: Type.Integer({ description: 'counters restart from 0 with each' }),
    machine: nullable(
      Type.Object(
        {
          cpuMs: Type.Integer({ minimum: 0, description: 'processor time of QEMU, all threads' }),
          residentBytes: Type.Integer({ minimum: 0, description: 'memory of QEMU that is in the host’s memory now' }),
          nics: Type.Array(Type.Object({ mac: Type.String(), receivedBytes: count, sentBytes: count }, strict), {
            description: 'traffic as the guest sees it',
          }),
        },
        { ...strict, description: 'counters of its host’s kernel, reported by the host’s agent' },
      ),
    ),
    machineMissing: why,
    disks: nullable(
      Type.Array(
        Type.Object(
          {
            disk: nullable(Type.String({ description: 'id of a disk of its own; null: another device' })),
            ...{ readBytes: count, writtenBytes: count, reads: count, writes: count },
          },
          strict,
        ),
        { description: 'counters of QEMU (query-blockstats): known whether or not the host’s agent answers' },
      ),
    ),
    disksMissing: why,
  },
  { ...strict, title: 'VmFigures', description: 'asked of the host and of QEMU when somebody asks; nothing is kept' },
);
export type VmFigures = View<typeof VmFiguresSchema>;
