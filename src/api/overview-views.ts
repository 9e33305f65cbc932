/** The API's views for pictures and buttons: compact rows of everything, and the actions that one thing allows. */
import { Type } from 'typebox';
import { ERROR_CODES, type ErrorCode } from '../base/errors.ts';
import { nullable, oneOf, strict, type View } from './common.ts';
import { ToAcceptSchema } from './ties.ts';
import { TASK_STATES, VERDICTS } from './views.ts';

const text = Type.String();
const bytes = Type.Integer({ minimum: 0 });

export const HostRowSchema = Type.Object(
  {
    name: text,
    rack: nullable(text),
    memoryTotalBytes: bytes,
    memoryUsedBytes: bytes,
    agent: oneOf(['alive', 'dead']),
    cordoned: Type.Boolean(),
    maintenance: nullable(oneOf(['draining', 'drained'])),
    quarantined: Type.Boolean(),
    drainable: nullable(Type.Boolean({ description: 'it can be drained now; null: not known yet' })),
    losable: nullable(Type.Boolean({ description: 'it may be lost now; null: not known yet' })),
  },
  { ...strict, title: 'HostRow', description: 'a host, as small as a picture needs it' },
);
export type HostRow = View<typeof HostRowSchema>;

export const VmRowSchema = Type.Object(
  {
    id: text,
    name: text,
    host: nullable(text),
    memoryBytes: bytes,
    verdict: oneOf(VERDICTS),
    guestCluster: nullable(text),
    antiAffinity: nullable(text),
  },
  { ...strict, title: 'VmRow', description: 'a VM, as small as a picture needs it' },
);
export type VmRow = View<typeof VmRowSchema>;

const AllowedActionSchema = Type.Object(
  {
    action: text,
    allowed: Type.Boolean(),
    reason: nullable(Type.String({ description: 'why not, in the words of the refusal' })),
    advice: nullable(Type.String({ description: 'what to do instead' })),
  },
  { ...strict, title: 'AllowedAction' },
);
export const AllowedActionsSchema = Type.Object(
  { actions: Type.Array(AllowedActionSchema) },
  {
    ...strict,
    title: 'AllowedActions',
    description: 'the actions that are allowed now, and the reasons against the others',
  },
);
export type AllowedActions = View<typeof AllowedActionsSchema>;

export const AdmissionSchema = Type.Object(
  {
    admitted: Type.Boolean(),
    code: nullable(oneOf(Object.keys(ERROR_CODES) as ErrorCode[], { description: 'of the refusal' })),
    reason: nullable(Type.String({ description: 'why not, in the words of the refusal' })),
    advice: nullable(Type.String({ description: 'what to do instead' })),
    acceptance: nullable(ToAcceptSchema),
    node: nullable(Type.String({ description: 'storage node that the disks of a new VM would be on' })),
  },
  { ...strict, title: 'Admission', description: 'the answer that a request would get now; nothing was changed' },
);
export type Admission = View<typeof AdmissionSchema>;

export const BulkItemSchema = Type.Object(
  {
    vm: Type.String({ description: 'name of the VM when the request was made' }),
    id: text,
    state: oneOf(['waiting', ...TASK_STATES]),
    task: nullable(Type.String({ description: 'its own task' })),
    message: text,
  },
  { ...strict, title: 'BulkItem', description: 'how far one VM of a task over many is' },
);
export type BulkItem = View<typeof BulkItemSchema>;
