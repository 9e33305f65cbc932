/**
 * What a controller may send (core/ports/host-link.ts), checked field by field before anything is done with it.
 * Guarantees: an order of a newer controller is understood as far as this version knows its fields, or refused with
 * CodedError 'unsupported' if the order says that this is not enough (docs/decisions/0011-versions-side-by-side.md).
 */

import { CodedError } from '../base/errors.ts';
import { parseDiskId, parseNetworkName, parseSha256, parseVmId } from '../base/ids.ts';
import { LIMITS } from '../core/model/limits.ts';
import {
  GUEST_AGENT,
  type KillOrder,
  type LaunchOrder,
  type NetworkPlan,
  type Order,
  type ProbeOrder,
  SHARED_DISKS,
} from '../core/ports/host-link.ts';
import {
  added,
  arrayOf,
  idOf,
  integer,
  nullable,
  oneOf,
  openObject,
  order as orderOf,
  type Parser,
  parseBoolean,
  parseGenerationField,
  parsePort,
  parseTermField,
  text,
} from '../rpc/parse.ts';
import { parseIpv4 } from './config.ts';

/** Bounds of one order's JSON: a plan of 200 networks with all their reservations fits. */
export const ORDER_BYTES_MAX = 8 * 1024 * 1024;
const MIB = 1024 ** 2;
const PROBE_MS_MAX = 10_000;
/** The most member addresses of one kind of machine: three for each of the largest number of hosts. */
const MEMBERS_MAX = 3 * LIMITS.hosts.max;
/** Features that an order may need and that not every version has; a name stays here for ever. */
const FEATURES: readonly string[] = [SHARED_DISKS, GUEST_AGENT];

const parseMac = text({ charsMax: 17, pattern: /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/ });
const parseVni = integer({ min: 1, max: 16_777_215 });
const parseLabel = text({ charsMax: 63, pattern: /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/ });
const parsePem = text({ charsMax: 16_384, pattern: /^-----BEGIN [A-Z ]+-----\n/ });
const parseIscsiText = text({ charsMax: 223, pattern: /^[a-z0-9.:-]+$/ });
const parseHostText = text({ charsMax: 253, pattern: /^[A-Za-z0-9.:-]+$/ });

const networkFields = {
  revision: integer({ min: 0 }),
  networks: arrayOf(
    openObject({
      name: idOf(parseNetworkName),
      vni: parseVni,
      peers: arrayOf(parseIpv4, { itemsMax: LIMITS.hosts.max }),
      gateway: nullable(openObject({ address: parseIpv4, prefixLength: integer({ min: 8, max: 30 }) })),
      nat: parseBoolean,
      dhcp: nullable(
        // More than admission allows: a network created by an older version may have more.
        arrayOf(openObject({ mac: parseMac, address: parseIpv4, hostname: parseLabel }), { itemsMax: 20_000 }),
      ),
      metadata: added(parseBoolean, false),
    }),
    { itemsMax: LIMITS.networks.max },
  ),
  drop: arrayOf(parseIpv4, { itemsMax: LIMITS.hosts.max }),
  members: added(
    nullable(
      openObject({
        controls: arrayOf(parseIpv4, { itemsMax: MEMBERS_MAX }),
        storage: arrayOf(parseIpv4, { itemsMax: MEMBERS_MAX }),
        hosts: arrayOf(parseIpv4, { itemsMax: MEMBERS_MAX }),
      }),
    ),
    null,
  ),
  guests: added(
    arrayOf(
      openObject({
        vm: idOf(parseVmId),
        name: parseLabel,
        vni: parseVni,
        address: parseIpv4,
        incarnation: integer({ min: 1 }),
        event: nullable(
          openObject({
            id: text({ charsMax: 36, pattern: /^[0-9a-f-]{36}$/ }),
            state: oneOf('scheduled', 'started'),
            notBefore: integer({ min: 0 }),
          }),
        ),
      }),
      { itemsMax: LIMITS.vmsPerHost.max * LIMITS.vmNics.max },
    ),
    [],
  ),
};

const parsePlan: Parser<NetworkPlan> = openObject(networkFields);

/** POST /v1/network */
export const parseNetworkOrder: Parser<NetworkPlan & Order> = orderOf(
  { term: parseTermField, ...networkFields },
  { features: FEATURES },
);

/** POST /v1/kill */
export const parseKillOrder: Parser<KillOrder> = orderOf(
  {
    term: parseTermField,
    vm: idOf(parseVmId),
    generations: arrayOf(parseGenerationField, { itemsMax: 1_000 }),
    reason: added(text({ charsMax: 1_000 }), 'no reason was given'),
  },
  { features: FEATURES },
);

const parseArtifact = openObject({
  sha256: idOf(parseSha256),
  sizeBytes: integer({ min: LIMITS.directBootBytes.min, max: LIMITS.directBootBytes.max }),
  from: arrayOf(openObject({ node: parseLabel, address: parseHostText, port: parsePort }), {
    itemsMax: LIMITS.storageNodes.max,
  }),
});

const parseLaunchShape = orderOf(
  {
    term: parseTermField,
    vm: idOf(parseVmId),
    vmName: parseLabel,
    generation: parseGenerationField,
    slot: integer({ min: 0, max: LIMITS.vmsPerHost.max - 1 }),
    incoming: parseBoolean,
    receives: added(nullable(parseGenerationField), null),
    machine: openObject({
      vcpus: integer(LIMITS.vmVcpus),
      memoryBytes: integer(LIMITS.vmMemoryBytes),
      cpuModel: text({ charsMax: 60, pattern: /^[A-Za-z0-9._-]+$/ }),
      firmware: oneOf('bios', 'uefi', 'direct'),
      kernel: nullable(parseArtifact),
      initrd: nullable(parseArtifact),
      append: nullable(text({ charsMax: LIMITS.kernelAppendBytes.max, pattern: /^[^\n\0]*$/ })),
      display: added(nullable(oneOf('vga')), null),
      guestAgent: added(parseBoolean, false),
    }),
    disks: arrayOf(
      openObject({
        disk: idOf(parseDiskId),
        role: oneOf('data', 'seed', 'nvram'),
        bus: oneOf('virtio', 'scsi'),
        readOnly: parseBoolean,
        export: openObject({
          address: parseHostText,
          port: parsePort,
          name: text({ charsMax: 200, pattern: /^[A-Za-z0-9._-]+$/ }),
          tlsName: parseHostText,
        }),
        patienceMs: integer(LIMITS.patienceMs),
      }),
      { itemsMax: LIMITS.vmDisks.max },
    ),
    sharedDisks: added(
      nullable(
        arrayOf(
          openObject({
            disk: idOf(parseDiskId),
            lun: integer(LIMITS.sharedDiskLun),
            address: parseHostText,
            port: parsePort,
            target: parseIscsiText,
            initiator: parseIscsiText,
            account: parseIscsiText,
            secret: text({ charsMax: 64, pattern: /^[A-Za-z0-9_-]{12,}$/ }),
          }),
          { itemsMax: LIMITS.vmSharedDisks.max },
        ),
      ),
      null,
    ),
    nics: arrayOf(openObject({ mac: parseMac, network: idOf(parseNetworkName), vni: parseVni }), {
      itemsMax: LIMITS.vmNics.max,
    }),
    credentials: openObject({ caPem: parsePem, certPem: parsePem, keyPem: parsePem }),
    network: parsePlan,
  },
  { features: FEATURES },
);

/** POST /v1/launch */
export const parseLaunchOrder: Parser<LaunchOrder> = (value, at) => {
  const { sharedDisks, receives, ...rest } = parseLaunchShape(value, at);
  const order: LaunchOrder = {
    ...rest,
    ...(sharedDisks === null ? {} : { sharedDisks }),
    ...(receives === null ? {} : { receives }),
  };
  const refuse = (what: string): never => {
    throw new CodedError('bad-input', what, { advice: 'Nothing was started.' });
  };
  if (order.machine.memoryBytes % MIB !== 0) refuse('machine.memoryBytes must be a multiple of 1 MiB.');
  if (order.machine.firmware === 'direct' && order.machine.kernel === null) refuse('A direct boot needs a kernel.');
  if (Buffer.byteLength(order.machine.append ?? '') > LIMITS.kernelAppendBytes.max)
    refuse(`machine.append may have at most ${LIMITS.kernelAppendBytes.max} bytes.`);
  if ((order.machine.kernel?.sizeBytes ?? 0) + (order.machine.initrd?.sizeBytes ?? 0) > LIMITS.directBootBytes.max)
    refuse(`machine.kernel and machine.initrd together may have at most ${LIMITS.directBootBytes.max} bytes.`);
  if (order.receives !== undefined && !order.incoming) refuse('Only an incoming incarnation receives a stream.');
  const nvrams = order.disks.filter(({ role }) => role === 'nvram').length;
  if (nvrams !== (order.machine.firmware === 'uefi' ? 1 : 0))
    refuse('One nvram disk is needed for UEFI, and none otherwise.');
  return order;
};

/** POST /v1/probe */
export const parseProbeOrder: Parser<ProbeOrder> = openObject({
  address: parseHostText,
  port: parsePort,
  deadlineMs: integer({ min: 1, max: PROBE_MS_MAX }),
});
