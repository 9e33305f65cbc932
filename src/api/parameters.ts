/** The parameters in paths of the API. */
import { Type } from 'typebox';
import { MacAddress, Name, Sha256Hex } from './common.ts';

/** The schemas of parameters, by name. */
export const PARAMETERS = {
  vm: Type.String({ ...Name, description: 'name or id of a VM' }),
  unknownVm: Type.String({ pattern: '^vm-[0-9a-f]{12}$', description: 'id of a VM that no record knows' }),
  host: Name,
  drain: Type.String({ pattern: '^drain-[0-9a-f]{12}$' }),
  roll: Type.String({ pattern: '^roll-[0-9a-f]{12}$' }),
  debt: Type.String({ pattern: '^debt-[0-9a-f]{12}$' }),
  node: Name,
  control: Name,
  network: Name,
  mac: MacAddress,
  image: Name,
  disk: Type.String({ pattern: '^disk-[0-9a-f]{12}$' }),
  guestCluster: Name,
  sharedDisk: Type.String({
    ...Name,
    description: 'id of a shared disk, or its name if it belongs to no guest cluster',
  }),
  sharedDiskName: Name,
  task: Type.String({ pattern: '^task-[0-9a-f]{12}$' }),
  token: Name,
  session: Type.String({ pattern: '^session-[0-9a-f]{12}$' }),
  sha256: Sha256Hex,
} as const;
export type ParameterName = keyof typeof PARAMETERS;
