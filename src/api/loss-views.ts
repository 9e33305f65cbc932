/** What is lost with a machine that is gone for good, as the API answers it. */
import { Type } from 'typebox';
import { strict, type View } from './common.ts';

const text = Type.String();
const Lost = (what: string) =>
  Type.Object(
    { count: Type.Integer({ minimum: 0 }), names: Type.Array(Type.String(), { description: `${what}; up to 1,000` }) },
    strict,
  );
export const HostLossSchema = Type.Object(
  {
    host: text,
    removed: Type.Boolean({ description: 'false: it was declared lost, and is removed once its VMs are fenced' }),
    vmCount: Type.Integer({ minimum: 0, description: 'how many VMs that waits for' }),
    vms: Type.Array(Type.Object({ vm: text, what: Type.String({ description: 'what becomes of it' }) }, strict), {
      description: 'the first 1,000 of them',
    }),
  },
  { ...strict, title: 'HostLoss' },
);
export type HostLoss = View<typeof HostLossSchema>;

export const StorageLossSchema = Type.Object(
  {
    node: text,
    vms: Lost('VMs with a disk of their own there'),
    disks: Lost('ids of disks'),
    sharedDisks: Lost('names and ids of shared disks'),
    images: Lost('images of which no other node has a copy'),
  },
  { ...strict, title: 'StorageLoss' },
);
export type StorageLoss = View<typeof StorageLossSchema>;
