/** VMs that no record knows, as the API tells of them, and what is decided about them. */
import { Type } from 'typebox';
import { Ipv4, MacAddress, MemoryBytes, Name, nullable, strict, Vcpus, type View } from './common.ts';

const text = Type.String();

export const UnknownVmSchema = Type.Object(
  {
    vm: text,
    processes: Type.Array(Type.Object({ host: text, generation: Type.Integer() }, strict)),
    disks: Type.Array(
      Type.Object(
        { disk: text, node: text, sizeBytes: Type.Integer({ minimum: 0 }), generations: Type.Array(Type.Integer()) },
        strict,
      ),
    ),
  },
  {
    ...strict,
    title: 'UnknownVm',
    description: 'a VM that was made after the backup that the cluster was restored from',
  },
);
export type UnknownVm = View<typeof UnknownVmSchema>;

export const AdoptUnknownVmSchema = Type.Object(
  {
    name: Type.Optional(Name),
    vcpus: Type.Optional(Vcpus),
    memoryBytes: Type.Optional(MemoryBytes),
    nics: Type.Optional(
      Type.Array(Type.Object({ mac: MacAddress, network: Name, address: Type.Optional(Ipv4) }, strict), {
        maxItems: 8,
        description: 'the network of each of its cards, which cannot be seen, and its address there',
      }),
    ),
  },
  { ...strict, title: 'AdoptUnknownVm', description: 'absent: as its QEMU tells; what nobody can see has to be said' },
);
export type AdoptUnknownVm = View<typeof AdoptUnknownVmSchema>;

export const DeleteUnknownVmQuerySchema = Type.Object(
  { confirmed: Type.Optional(Type.Boolean({ description: 'what goes was read; without it, it is only told' })) },
  strict,
);
export type DeleteUnknownVmQuery = View<typeof DeleteUnknownVmQuerySchema>;

export const UnknownVmDeletionSchema = Type.Object(
  {
    vm: text,
    goes: Type.String({ description: 'what is ended and deleted' }),
    task: nullable(Type.String({ description: 'ends when everything is gone; null: nothing was changed' })),
  },
  { ...strict, title: 'UnknownVmDeletion' },
);
export type UnknownVmDeletion = View<typeof UnknownVmDeletionSchema>;
