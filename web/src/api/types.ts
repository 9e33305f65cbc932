/** The API's objects under short names: the types come from the generated client. */
import type { components } from '../../../src/client/generated/schema.d.ts';

type Schemas = components['schemas'];

export type Vm = Schemas['Vm'];
export type Host = Schemas['Host'];
export type StorageNode = Schemas['StorageNode'];
export type ControlNode = Schemas['ControlNode'];
export type Network = Schemas['Network'];
export type Image = Schemas['Image'];
export type Disk = Schemas['Disk'];
export type SharedDisk = Schemas['SharedDisk'];
export type GuestCluster = Schemas['GuestCluster'];
export type Task = Schemas['Task'];
export type Event = Schemas['Event'];
export type DrainSummary = Schemas['DrainSummary'];
export type VmDetail = Schemas['VmDetail'];
export type Drain = Schemas['Drain'];
export type DrainPlan = Schemas['DrainPlan'];
export type MaintenancePlan = Schemas['MaintenancePlan'];
export type RollSummary = Schemas['RollSummary'];
export type Roll = Schemas['Roll'];
export type Verdict = Vm['verdict'];
export type HostRow = Schemas['HostRow'];
export type VmRow = Schemas['VmRow'];
export type VmFigures = Schemas['VmFigures'];
export type VmGuest = Schemas['VmGuest'];
export type Lab = Schemas['Lab'];
export type Admission = Schemas['Admission'];
export type AllowedAction = Schemas['AllowedAction'];
export type Tie = Schemas['Tie'];
export type TiePage = Schemas['TiePage'];
export type BulkAction = Schemas['BulkAction'];
