/**
 * Every operation of the API as data: the routes register it, the OpenAPI document prints it, the tests walk through
 * it. Paths are OpenAPI's; a path parameter has the schema of PARAMETERS (parameters.ts) under its name.
 */
import { Type } from 'typebox';
import * as access from './access-views.ts';
import { BackupSchema } from './backup-views.ts';
import { BODY_BYTES_MAX } from './common.ts';
import { VmFiguresSchema } from './figure-views.ts';
import * as lab from './lab-views.ts';
import { all, pageOf } from './listing.ts';
import * as losses from './loss-views.ts';
import * as maintenance from './maintenance-views.ts';
import { type Operation, operation } from './operation.ts';
import * as overview from './overview-views.ts';
import type { ParameterName } from './parameters.ts';
import * as requests from './requests.ts';
import * as rolls from './roll-views.ts';
import * as sessions from './session-requests.ts';
import * as ties from './ties.ts';
import * as unknown from './unknown-views.ts';
import * as views from './views.ts';

const vmAction = { status: 202, answer: views.TaskSchema, errors: ['not-found', 'conflict', 'no-capacity'] } as const;

/** The ticket in its query is the permission. */
const browserConsole = {
  query: sessions.TicketQuerySchema,
  status: 101,
  answerMedium: 'upgrade',
  auth: 'none',
  anyNode: true,
  errors: ['unauthorized', 'not-found', 'conflict'],
} as const;

const allowed = { answer: overview.AllowedActionsSchema, errors: ['not-found'] } as const;

const change = {
  status: 202,
  answer: views.TaskSchema,
  ifMatch: true,
  errors: ['not-found', 'conflict', 'stale-revision'],
} as const;

export const OPERATIONS = {
  listVms: operation('GET /v1/vms', 'vms', 'List VMs', {
    query: requests.VmQuerySchema,
    answer: pageOf(views.VmSchema),
  }),
  createVm: operation('POST /v1/vms', 'vms', 'Create a VM, and start it unless `start` is false', {
    body: requests.CreateVmSchema,
    bodyBytesMax: BODY_BYTES_MAX,
    status: 201,
    answer: views.VmSchema,
    errors: ['not-found', 'exists', 'conflict', 'no-capacity', 'bad-image', 'needs-acceptance'],
  }),
  checkNewVm: operation('POST /v1/vms/check', 'vms', 'Say whether a VM would be created now; nothing is changed', {
    body: requests.CreateVmSchema,
    bodyBytesMax: BODY_BYTES_MAX,
    answer: overview.AdmissionSchema,
  }),
  checkVm: operation('POST /v1/vms/{vm}/check', 'vms', 'Say whether a VM would be changed now; nothing is changed', {
    body: requests.PatchVmSchema,
    answer: overview.AdmissionSchema,
    errors: ['not-found'],
  }),
  getVm: operation('GET /v1/vms/{vm}', 'vms', 'Show a VM with the observations behind its verdict', {
    answer: views.VmDetailSchema,
    errors: ['not-found'],
  }),
  patchVm: operation(
    'PATCH /v1/vms/{vm}',
    'vms',
    'Change a VM: at once, but vcpus and memory only while it is stopped',
    {
      body: requests.PatchVmSchema,
      ifMatch: true,
      answer: views.VmSchema,
      errors: ['not-found', 'conflict', 'stale-revision', 'needs-acceptance'],
    },
  ),
  vmAddNic: operation(
    'POST /v1/vms/{vm}/nics',
    'vms',
    'Give a VM one more network card: at once while it is stopped, else from its next start on',
    {
      body: requests.AddNicSchema,
      ifMatch: true,
      answer: views.VmSchema,
      errors: ['not-found', 'conflict', 'stale-revision', 'no-capacity'],
    },
  ),
  vmRemoveNic: operation(
    'DELETE /v1/vms/{vm}/nics/{mac}',
    'vms',
    'Take a network card from a VM: at once while it is stopped, else at its next start',
    { ifMatch: true, answer: views.VmSchema, errors: ['not-found', 'conflict', 'stale-revision'] },
  ),
  deleteVm: operation('DELETE /v1/vms/{vm}', 'vms', 'Stop a VM at once and delete it with its disks', {
    ...vmAction,
    ifMatch: true,
    errors: ['not-found', 'conflict', 'stale-revision'],
  }),
  actOnVms: operation('POST /v1/vms/actions', 'vms', 'One action on many VMs, as one task', {
    body: requests.BulkActionSchema,
    status: 202,
    answer: views.TaskSchema,
    errors: ['not-found', 'too-large'],
  }),
  vmActions: operation('GET /v1/vms/{vm}/actions', 'vms', 'Actions that a VM allows now', allowed),
  hostActions: operation('GET /v1/hosts/{host}/actions', 'hosts', 'Actions that a host allows now', allowed),
  taskActions: operation('GET /v1/tasks/{task}/actions', 'tasks', 'Actions that a task allows now', allowed),
  listTaskVms: operation('GET /v1/tasks/{task}/vms', 'tasks', 'How far each VM of a task over many is', {
    ...all(overview.BulkItemSchema),
    errors: ['not-found'],
  }),
  listHostRows: operation('GET /v1/overview/hosts', 'cluster', 'All hosts in small rows', {
    query: requests.RowQuerySchema,
    answer: pageOf(overview.HostRowSchema),
  }),
  listVmRows: operation('GET /v1/overview/vms', 'cluster', 'All VMs in small rows', {
    query: requests.RowQuerySchema,
    answer: pageOf(overview.VmRowSchema),
  }),
  startVm: operation('POST /v1/vms/{vm}/start', 'vms', 'Start a VM', {
    ...vmAction,
    body: requests.StartVmSchema,
    errors: [...vmAction.errors, 'needs-acceptance'],
  }),
  stopVm: operation('POST /v1/vms/{vm}/stop', 'vms', 'Stop a VM: ACPI, then hard after a deadline', {
    ...vmAction,
    body: requests.StopVmSchema,
  }),
  resetVm: operation('POST /v1/vms/{vm}/reset', 'vms', 'Reset a VM as its reset button would', vmAction),
  suspendVm: operation('POST /v1/vms/{vm}/suspend', 'vms', 'Pause a VM’s vCPUs', vmAction),
  resumeVm: operation('POST /v1/vms/{vm}/resume', 'vms', 'Let a paused VM’s vCPUs run', vmAction),
  migrateVm: operation('POST /v1/vms/{vm}/migrate', 'vms', 'Live-migrate a VM', {
    ...vmAction,
    body: requests.MigrateVmSchema,
  }),
  vmGuest: operation('GET /v1/vms/{vm}/guest', 'vms', 'The guest’s own report about a VM, at most a minute old', {
    answer: views.VmGuestSchema,
    errors: ['not-found'],
  }),
  vmLog: operation('GET /v1/vms/{vm}/log', 'vms', 'End of the serial console’s output', {
    query: requests.VmLogQuerySchema,
    answer: views.VmLogSchema,
    errors: ['not-found', 'conflict'],
  }),
  vmFigures: operation('GET /v1/vms/{vm}/figures', 'vms', 'A VM’s use of resources: measured now, not kept', {
    answer: VmFiguresSchema,
    errors: ['not-found', 'conflict'],
  }),
  vmEvents: operation(
    'GET /v1/vms/{vm}/events',
    'vms',
    'The history of a VM: the latest events first by page, oldest first within a page',
    {
      query: requests.VmEventQuerySchema,
      answer: pageOf(views.EventSchema),
      errors: ['not-found'],
    },
  ),
  vmConsole: operation(
    'GET /v1/vms/{vm}/console',
    'vms',
    'Serial console: HTTP Upgrade to groundplane-console, then raw bytes both ways, through moves of the VM',
    {
      query: sessions.ConsoleQuerySchema,
      status: 101,
      answerMedium: 'upgrade',
      anyNode: true,
      errors: ['not-found', 'conflict'],
    },
  ),
  vmDisplay: operation(
    'GET /v1/vms/{vm}/display',
    'vms',
    'Display: HTTP Upgrade to groundplane-console, then RFB (VNC), until the VM moves',
    { status: 101, answerMedium: 'upgrade', anyNode: true, errors: ['not-found', 'conflict'] },
  ),
  vmSerialSocket: operation(
    'GET /v1/vms/{vm}/serial',
    'vms',
    'Serial console of a browser: a WebSocket of binary messages, by a ticket',
    browserConsole,
  ),
  vmVncSocket: operation(
    'GET /v1/vms/{vm}/vnc',
    'vms',
    'Display of a browser: a WebSocket of RFB (VNC), by a ticket; close code 4001: the VM moved, open it again',
    browserConsole,
  ),
  listHosts: operation('GET /v1/hosts', 'hosts', 'List hosts', {
    query: requests.HostQuerySchema,
    answer: pageOf(views.HostSchema),
  }),
  getHost: operation('GET /v1/hosts/{host}', 'hosts', 'Show a host', {
    answer: views.HostSchema,
    errors: ['not-found'],
  }),
  patchHost: operation('PATCH /v1/hosts/{host}', 'hosts', 'Cordon or uncordon a host, set its rack', {
    body: requests.PatchHostSchema,
    ifMatch: true,
    answer: views.HostSchema,
    errors: ['not-found', 'conflict', 'stale-revision'],
  }),
  deleteHost: operation('DELETE /v1/hosts/{host}', 'hosts', 'Remove an empty host, or give up one that is lost', {
    query: requests.DeleteHostQuerySchema,
    ifMatch: true,
    answer: losses.HostLossSchema,
    errors: ['not-found', 'conflict', 'stale-revision'],
  }),
  planHostDrain: operation('POST /v1/hosts/{host}/drain-plan', 'maintenance', 'Show what draining a host would do', {
    body: requests.DrainHostSchema,
    answer: maintenance.DrainPlanSchema,
    errors: ['not-found', 'conflict', 'no-capacity', 'too-large'],
  }),
  drainHost: operation('POST /v1/hosts/{host}/drain', 'maintenance', 'Empty a host for maintenance', {
    body: requests.DrainHostSchema,
    status: 202,
    answer: maintenance.DrainSchema,
    errors: ['not-found', 'conflict', 'no-capacity', 'too-large'],
  }),
  returnToHost: operation('POST /v1/hosts/{host}/return', 'maintenance', 'Bring back what its last drain moved away', {
    body: requests.ReturnVmsSchema,
    status: 202,
    answer: maintenance.DrainSchema,
    errors: ['not-found', 'conflict'],
  }),
  undrainHost: operation('POST /v1/hosts/{host}/undrain', 'maintenance', 'Take a host back into service', {
    answer: views.HostSchema,
    errors: ['not-found', 'conflict'],
  }),
  planMaintenance: operation(
    'POST /v1/maintenance-plan',
    'maintenance',
    'Show what maintenance of many hosts, one wave after the other, would do',
    {
      body: requests.PlanMaintenanceSchema,
      answer: maintenance.MaintenancePlanSchema,
      errors: ['not-found', 'conflict', 'no-capacity'],
    },
  ),
  listTies: operation('GET /v1/ties', 'maintenance', 'List what ties VMs to hosts, and debts', all(ties.TieSchema)),
  renewTie: operation('POST /v1/ties/{debt}/renew', 'maintenance', 'Sign a debt anew', {
    body: ties.AcceptSchema,
    answer: ties.TieSchema,
    errors: ['not-found', 'conflict'],
  }),
  listDrains: operation(
    'GET /v1/drains',
    'maintenance',
    'List drains, without their moves',
    all(maintenance.DrainSummarySchema),
  ),
  getDrain: operation('GET /v1/drains/{drain}', 'maintenance', 'Show a drain', {
    answer: maintenance.DrainSchema,
    errors: ['not-found'],
  }),
  pauseDrain: operation('POST /v1/drains/{drain}/pause', 'maintenance', 'Begin no further move of a drain', {
    answer: maintenance.DrainSchema,
    errors: ['not-found', 'conflict'],
  }),
  resumeDrain: operation('POST /v1/drains/{drain}/resume', 'maintenance', 'Resume a drain', {
    answer: maintenance.DrainSchema,
    errors: ['not-found', 'conflict'],
  }),
  cancelDrain: operation('POST /v1/drains/{drain}/cancel', 'maintenance', 'End a drain after the moves under way', {
    answer: maintenance.DrainSchema,
    errors: ['not-found', 'conflict'],
  }),
  planStorageNodeDrain: operation(
    'POST /v1/storage-nodes/{node}/drain-plan',
    'storage',
    'Show what draining it would do',
    {
      body: requests.DrainNodeSchema,
      answer: maintenance.NodeDrainPlanSchema,
      errors: ['not-found', 'conflict'],
    },
  ),
  drainStorageNode: operation('POST /v1/storage-nodes/{node}/drain', 'storage', 'Take a storage node out of service', {
    body: requests.DrainNodeSchema,
    answer: views.StorageNodeSchema,
    errors: ['not-found', 'conflict'],
  }),
  undrainStorageNode: operation('POST /v1/storage-nodes/{node}/undrain', 'storage', 'Take a storage node back', {
    answer: views.StorageNodeSchema,
    errors: ['not-found', 'conflict'],
  }),
  planControlNodeDrain: operation(
    'POST /v1/control-nodes/{node}/drain-plan',
    'cluster',
    'Show what draining it would do',
    {
      body: requests.DrainNodeSchema,
      answer: maintenance.NodeDrainPlanSchema,
      errors: ['not-found', 'conflict'],
    },
  ),
  drainControlNode: operation('POST /v1/control-nodes/{node}/drain', 'cluster', 'Take a control node out of service', {
    body: requests.DrainNodeSchema,
    answer: views.ControlNodeSchema,
    errors: ['not-found', 'conflict'],
  }),
  undrainControlNode: operation('POST /v1/control-nodes/{node}/undrain', 'cluster', 'Take a control node back', {
    answer: views.ControlNodeSchema,
    errors: ['not-found', 'conflict'],
  }),
  listRolls: operation('GET /v1/rolls', 'maintenance', 'List rolls, without their hosts', all(rolls.RollSummarySchema)),
  startRoll: operation('POST /v1/rolls', 'maintenance', 'Begin maintenance of many hosts by an approved plan', {
    body: requests.StartRollSchema,
    bodyBytesMax: BODY_BYTES_MAX,
    status: 202,
    answer: rolls.RollSchema,
    errors: ['not-found', 'conflict'],
  }),
  getRoll: operation('GET /v1/rolls/{roll}', 'maintenance', 'Show a roll', {
    answer: rolls.RollSchema,
    errors: ['not-found'],
  }),
  reportRollWork: operation('POST /v1/rolls/{roll}/work', 'maintenance', 'Say that work on a host begins, or ended', {
    body: requests.RollWorkSchema,
    answer: rolls.RollSchema,
    errors: ['not-found', 'conflict'],
  }),
  pauseRoll: operation('POST /v1/rolls/{roll}/pause', 'maintenance', 'Begin nothing more of a roll', {
    answer: rolls.RollSchema,
    errors: ['not-found', 'conflict'],
  }),
  resumeRoll: operation('POST /v1/rolls/{roll}/resume', 'maintenance', 'Resume a roll', {
    body: requests.ResumeRollSchema,
    answer: rolls.RollSchema,
    errors: ['not-found', 'conflict'],
  }),
  abortRoll: operation('POST /v1/rolls/{roll}/abort', 'maintenance', 'End a roll; work that has begun is finished', {
    answer: rolls.RollSchema,
    errors: ['not-found', 'conflict'],
  }),
  drainActions: operation('GET /v1/drains/{drain}/actions', 'maintenance', 'Actions that a drain allows now', allowed),
  rollActions: operation('GET /v1/rolls/{roll}/actions', 'maintenance', 'Actions that a roll allows now', allowed),
  listStorageNodes: operation('GET /v1/storage-nodes', 'storage', 'List storage nodes', all(views.StorageNodeSchema)),
  getStorageNode: operation('GET /v1/storage-nodes/{node}', 'storage', 'Show a storage node', {
    answer: views.StorageNodeSchema,
    errors: ['not-found'],
  }),
  deleteStorageNode: operation(
    'DELETE /v1/storage-nodes/{node}',
    'storage',
    'Remove an empty storage node, or give up one that is lost',
    {
      query: requests.DeleteStorageQuerySchema,
      ifMatch: true,
      answer: losses.StorageLossSchema,
      errors: ['not-found', 'conflict', 'stale-revision'],
    },
  ),
  listControlNodes: operation('GET /v1/control-nodes', 'cluster', 'List control nodes', all(views.ControlNodeSchema)),
  deleteControlNode: operation(
    'DELETE /v1/control-nodes/{control}',
    'cluster',
    'Remove a control node that does not serve, with its member of etcd',
    { status: 204, errors: ['not-found', 'conflict'] },
  ),
  getAuthority: operation('GET /v1/authority', 'cluster', "Show the cluster's certificate authorities", {
    answer: views.AuthoritySchema,
  }),
  rotateAuthority: operation('POST /v1/authority/rotation', 'cluster', 'Begin to change the certificate authority', {
    status: 202,
    answer: views.AuthoritySchema,
    errors: ['conflict'],
  }),
  listNetworks: operation('GET /v1/networks', 'networks', 'List networks', all(views.NetworkSchema)),
  createNetwork: operation('POST /v1/networks', 'networks', 'Create an overlay network', {
    body: requests.CreateNetworkSchema,
    status: 201,
    answer: views.NetworkSchema,
    errors: ['exists', 'conflict'],
  }),
  getNetwork: operation('GET /v1/networks/{network}', 'networks', 'Show a network', {
    answer: views.NetworkSchema,
    errors: ['not-found'],
  }),
  patchNetwork: operation('PATCH /v1/networks/{network}', 'networks', 'Change a network’s services for its guests', {
    body: requests.PatchNetworkSchema,
    ifMatch: true,
    answer: views.NetworkSchema,
    errors: ['not-found', 'conflict', 'stale-revision'],
  }),
  deleteNetwork: operation('DELETE /v1/networks/{network}', 'networks', 'Delete a network no VM uses', {
    ifMatch: true,
    status: 204,
    errors: ['not-found', 'conflict', 'stale-revision'],
  }),
  listImages: operation('GET /v1/images', 'images', 'List images', all(views.ImageSchema)),
  getImage: operation('GET /v1/images/{image}', 'images', 'Show an image', {
    answer: views.ImageSchema,
    errors: ['not-found'],
  }),
  putImage: operation('PUT /v1/images/{image}', 'images', 'Make an image of uploaded artifacts', {
    body: requests.PutImageSchema,
    status: 201,
    answer: views.ImageSchema,
    errors: ['not-found', 'exists', 'bad-image'],
  }),
  deleteImage: operation('DELETE /v1/images/{image}', 'images', 'Delete an image; disks made from it stay', {
    ifMatch: true,
    status: 204,
    errors: ['not-found', 'conflict', 'stale-revision'],
  }),
  getArtifact: operation('GET /v1/artifacts/{sha256}', 'images', 'Show where an uploaded file is stored', {
    answer: views.ArtifactSchema,
    errors: ['not-found'],
  }),
  putArtifact: operation('PUT /v1/artifacts/{sha256}', 'images', 'Upload a file under the SHA-256 of its content', {
    query: requests.ArtifactQuerySchema,
    bodyMedium: 'bytes',
    status: 201,
    answer: views.ArtifactSchema,
    errors: ['too-large', 'bad-image', 'no-capacity'],
  }),
  deleteArtifact: operation('DELETE /v1/artifacts/{sha256}', 'images', 'Delete an uploaded file that nothing names', {
    status: 204,
    errors: ['not-found', 'conflict'],
  }),
  listDisks: operation('GET /v1/disks', 'storage', 'List disks', {
    query: requests.DiskQuerySchema,
    answer: pageOf(views.DiskSchema),
  }),
  getDisk: operation('GET /v1/disks/{disk}', 'storage', 'Show a disk', {
    answer: views.DiskSchema,
    errors: ['not-found'],
  }),
  listSharedDisks: operation(
    'GET /v1/shared-disks',
    'guest clusters',
    'List shared disks',
    all(views.SharedDiskSchema),
  ),
  createSharedDisk: operation('POST /v1/shared-disks', 'guest clusters', 'Make a shared disk of no guest cluster', {
    body: requests.CreateSharedDiskSchema,
    status: 201,
    answer: views.SharedDiskSchema,
    errors: ['exists', 'no-capacity'],
  }),
  getSharedDisk: operation('GET /v1/shared-disks/{sharedDisk}', 'guest clusters', 'Show a shared disk', {
    answer: views.SharedDiskSchema,
    errors: ['not-found'],
  }),
  patchSharedDisk: operation(
    'PATCH /v1/shared-disks/{sharedDisk}',
    'guest clusters',
    'Grow a shared disk, while it is used',
    { ...change, body: requests.PatchSharedDiskSchema },
  ),
  deleteSharedDisk: operation(
    'DELETE /v1/shared-disks/{sharedDisk}',
    'guest clusters',
    'Delete a shared disk that no VM has',
    {
      ...change,
    },
  ),
  attachSharedDisk: operation(
    'POST /v1/shared-disks/{sharedDisk}/attachments',
    'guest clusters',
    'Attach a shared disk of no guest cluster to a VM, also while it runs',
    { ...change, body: requests.AttachSharedDiskSchema },
  ),
  detachSharedDisk: operation(
    'DELETE /v1/shared-disks/{sharedDisk}/attachments/{vm}',
    'guest clusters',
    'Detach a shared disk of no guest cluster from a VM, also while it runs',
    change,
  ),
  listGuestClusters: operation(
    'GET /v1/guest-clusters',
    'guest clusters',
    'List guest clusters, including undeclared ones',
    all(views.GuestClusterSchema),
  ),
  createGuestCluster: operation('POST /v1/guest-clusters', 'guest clusters', 'Declare VMs to be a guest cluster', {
    body: requests.CreateGuestClusterSchema,
    status: 201,
    answer: views.GuestClusterSchema,
    errors: ['not-found', 'exists', 'conflict', 'no-capacity', 'needs-acceptance'],
  }),
  getGuestCluster: operation('GET /v1/guest-clusters/{guestCluster}', 'guest clusters', 'Show a guest cluster', {
    answer: views.GuestClusterSchema,
    errors: ['not-found'],
  }),
  patchGuestCluster: operation(
    'PATCH /v1/guest-clusters/{guestCluster}',
    'guest clusters',
    'Change the limits of a guest cluster',
    {
      body: requests.PatchGuestClusterSchema,
      ifMatch: true,
      answer: views.GuestClusterSchema,
      errors: ['not-found', 'conflict', 'stale-revision', 'needs-acceptance'],
    },
  ),
  deleteGuestCluster: operation(
    'DELETE /v1/guest-clusters/{guestCluster}',
    'guest clusters',
    'Delete a guest cluster and its shared disks; its members stay as VMs',
    { ...change, query: requests.DiskFateQuerySchema },
  ),
  addGuestClusterMember: operation(
    'POST /v1/guest-clusters/{guestCluster}/members',
    'guest clusters',
    'Make a VM a member, also while it runs',
    { ...change, body: requests.AddMemberSchema, errors: [...change.errors, 'needs-acceptance'] },
  ),
  removeGuestClusterMember: operation(
    'DELETE /v1/guest-clusters/{guestCluster}/members/{vm}',
    'guest clusters',
    'Remove a member; its VM, its own disks, its cards and its keys on the shared disks stay',
    change,
  ),
  addGuestClusterDisk: operation(
    'POST /v1/guest-clusters/{guestCluster}/disks',
    'guest clusters',
    'Give all members one more shared disk, also while they run',
    { ...change, body: requests.AddDiskSchema, errors: [...change.errors, 'exists', 'no-capacity'] },
  ),
  removeGuestClusterDisk: operation(
    'DELETE /v1/guest-clusters/{guestCluster}/disks/{sharedDiskName}',
    'guest clusters',
    'Take a shared disk from all members, and delete it unless it is to be kept',
    { ...change, query: requests.DiskFateQuerySchema, errors: [...change.errors, 'exists'] },
  ),
  listTasks: operation(
    'GET /v1/tasks',
    'tasks',
    'List tasks: the latest ones first by page, oldest first within a page',
    {
      query: requests.TaskQuerySchema,
      answer: pageOf(views.TaskSchema),
    },
  ),
  getTask: operation('GET /v1/tasks/{task}', 'tasks', 'Show a task, waiting for its end if asked to', {
    query: requests.TaskWaitQuerySchema,
    answer: views.TaskSchema,
    errors: ['not-found'],
  }),
  cancelTask: operation(
    'POST /v1/tasks/{task}/cancel',
    'tasks',
    'Cancel what a task asks for: a migration before its commit, a start, or a reset that was not carried out yet',
    { status: 202, answer: views.TaskSchema, errors: ['not-found', 'conflict'] },
  ),
  listEvents: operation(
    'GET /v1/events',
    'events',
    'List events: the latest ones first by page, oldest first within a page',
    {
      query: requests.EventQuerySchema,
      answer: pageOf(views.EventSchema),
    },
  ),
  watch: operation(
    'GET /v1/watch',
    'events',
    'Changes as server-sent events; Last-Event-ID is the revision to continue from',
    {
      query: requests.WatchQuerySchema,
      answer: views.WatchChangeSchema,
      answerMedium: 'event-stream',
      errors: ['conflict'],
    },
  ),
  beginSession: operation('POST /v1/session', 'access', 'Log a browser in: by an API token, or by a one-time link', {
    body: sessions.BeginSessionSchema,
    status: 201,
    answer: access.SessionSchema,
    auth: 'none',
    cookie: 'set',
    errors: ['unauthorized', 'too-many', 'no-capacity'],
  }),
  whoAmI: operation('GET /v1/session', 'access', 'Say who is logged in', { answer: access.WhoSchema }),
  endSession: operation('DELETE /v1/session', 'access', 'Log this browser out', {
    status: 204,
    cookie: 'clear',
    errors: ['not-found'],
  }),
  createSessionLink: operation('POST /v1/session/links', 'access', 'Create a one-time link that logs a browser in', {
    status: 201,
    answer: access.SessionLinkSchema,
    errors: ['no-capacity'],
  }),
  listSessions: operation('GET /v1/sessions', 'access', 'List who is logged in', all(access.SessionSchema)),
  endOwnSessions: operation('DELETE /v1/sessions', 'access', 'Log out everywhere: end all sessions of the token', {
    status: 204,
    cookie: 'clear',
  }),
  endOtherSession: operation('DELETE /v1/sessions/{session}', 'access', 'End one session', {
    status: 204,
    errors: ['not-found'],
  }),
  vmConsoleTicket: operation(
    'POST /v1/vms/{vm}/console-tickets',
    'vms',
    'Create a ticket that opens one console in a browser, once',
    {
      body: sessions.ConsoleTicketRequestSchema,
      status: 201,
      answer: access.ConsoleTicketSchema,
      errors: ['not-found', 'no-capacity'],
    },
  ),
  listTokens: operation('GET /v1/tokens', 'access', 'List API tokens', all(access.ApiTokenSchema)),
  createToken: operation('POST /v1/tokens', 'access', 'Create an API token; it is shown once', {
    body: sessions.CreateTokenSchema,
    status: 201,
    answer: access.ApiTokenCreatedSchema,
    errors: ['exists'],
  }),
  deleteToken: operation('DELETE /v1/tokens/{token}', 'access', 'Revoke an API token', {
    status: 204,
    errors: ['not-found', 'conflict'],
  }),
  createJoinToken: operation('POST /v1/join-tokens', 'access', 'Create a one-time token with which a node joins', {
    body: requests.CreateJoinTokenSchema,
    status: 201,
    answer: access.JoinTokenSchema,
  }),
  join: operation('POST /v1/join', 'access', 'Join the cluster with a one-time token', {
    body: requests.JoinSchema,
    answer: access.JoinedSchema,
    auth: 'none',
    errors: ['unauthorized', 'conflict'],
  }),
  finalizeCluster: operation(
    'POST /v1/cluster/finalize',
    'cluster',
    'Raise the release of the cluster to that of all its machines: no way back',
    { answer: views.ClusterSchema, errors: ['conflict'] },
  ),
  listBackups: operation('GET /v1/backups', 'cluster', 'List backups of the cluster’s records', all(BackupSchema)),
  readBackup: operation('GET /v1/backup', 'cluster', 'A backup of now', { answerMedium: 'bytes', anyNode: true }),
  listUnknownVms: operation(
    'GET /v1/unknown-vms',
    'cluster',
    'List VMs that no record knows',
    all(unknown.UnknownVmSchema),
  ),
  adoptUnknownVm: operation('POST /v1/unknown-vms/{unknownVm}/adopt', 'cluster', 'Make a record of an unknown VM', {
    body: unknown.AdoptUnknownVmSchema,
    answer: views.VmDetailSchema,
    errors: ['not-found', 'exists', 'conflict', 'no-capacity'],
  }),
  deleteUnknownVm: operation('DELETE /v1/unknown-vms/{unknownVm}', 'cluster', 'Fence an unknown VM, then delete it', {
    query: unknown.DeleteUnknownVmQuerySchema,
    answer: unknown.UnknownVmDeletionSchema,
    errors: ['not-found', 'exists', 'conflict', 'no-capacity'],
  }),
  getLab: operation('GET /v1/lab', 'lab', 'Machines of a one-machine cluster, and the faults that can be injected', {
    answer: lab.LabSchema,
    anyNode: true,
    errors: ['conflict'],
  }),
  injectFault: operation('POST /v1/lab/faults', 'lab', 'Inject a fault into a one-machine cluster, or undo some', {
    body: lab.InjectFaultSchema,
    answer: lab.LabSchema,
    anyNode: true,
    errors: ['conflict', 'not-found'],
  }),
  getCluster: operation('GET /v1/cluster', 'cluster', 'Summary of the cluster', { answer: views.ClusterSchema }),
  health: operation('GET /healthz', 'cluster', 'Whether this control node works', {
    answer: views.HealthSchema,
    auth: 'none',
    anyNode: true,
  }),
  metrics: operation('GET /metrics', 'cluster', 'Prometheus metrics', { answerMedium: 'text', anyNode: true }),
  openapi: operation('GET /v1/openapi.json', 'cluster', 'This document', {
    answer: Type.Object({}, { additionalProperties: true }),
    auth: 'none',
    anyNode: true,
  }),
} as const satisfies Record<string, Operation>;

export type OperationId = keyof typeof OPERATIONS;

/** Names of the parameters in a path, in order. */
export function parametersOf(path: string): readonly ParameterName[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] as ParameterName);
}
