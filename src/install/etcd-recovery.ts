/**
 * Makes room in an etcd that is full, on a control node and without any server: the servers do the same by themselves
 * (core/loop/lead/etcd-space-keeper.ts) as long as one of them runs.
 *
 * Guarantees: no record is changed or deleted, only history and free pages go; members are defragmented one after the
 * other, etcd's leader last; each step has a deadline, and all of it may be repeated.
 */
import { CodedError } from '../base/errors.ts';
import { listed } from '../base/listed.ts';
import { etcdRoom } from '../control/links/etcd-room.ts';
import { PORTS } from '../core/model/ports.ts';
import { answering, type EtcdMember } from '../core/plan/lead/etcd-space.ts';
import type { EtcdRoomLink } from '../core/ports/etcd-room.ts';
import { EtcdClient } from '../etcd/client.ts';
import { readCredentials } from '../pki/credentials.ts';
import { demandClusterFile } from './cluster-file.ts';
import { identityDir } from './setup.ts';
import { STATE_DIR } from './units.ts';

const STATUS_MS = 5_000;
const COMPACT_MS = 120_000;
const DEFRAGMENT_MS = 300_000;
const MIB = 1024 ** 2;

/** Makes room in the etcd of the cluster that this machine is a control node of. CodedErrors as `makeRoom`. */
export async function makeRoomHere(say: (line: string) => void): Promise<void> {
  const tls = await readCredentials(identityDir('control'));
  if (tls === undefined)
    throw new CodedError('not-found', 'This machine is no control node.', { advice: 'Run it on one, as root.' });
  const { controls } = await demandClusterFile(STATE_DIR);
  const endpoints = controls.map(({ address }) => `${address}:${PORTS.etcdClient}`);
  const etcd = new EtcdClient({ endpoints, tls });
  try {
    await makeRoom(etcdRoom(etcd), say);
  } finally {
    etcd.close();
  }
}

/**
 * Forgets the history, gives free pages back and takes etcd's alarm back. CodedError 'unavailable' where no member
 * answers, 'no-capacity' where the records alone fill the quota.
 */
export async function makeRoom(room: EtcdRoomLink, say: (line: string) => void): Promise<void> {
  const members = await room.members(STATUS_MS);
  const there = answering(members);
  if (there.length === 0)
    throw new CodedError('unavailable', 'No member of etcd answers.', {
      advice: 'Nothing was changed. Start groundplane-etcd on the control nodes: most of them must run.',
    });
  const away = members.flatMap((member) => ('unreachable' in member ? [member.endpoint] : []));
  // A full etcd takes no write anyway: members that are away keep nobody waiting.
  if (away.length > 0) say(`Not there, and left as they are: ${listed(away)}.`);
  const revision = Math.max(...there.map((member) => member.revision));
  await room.compact(revision, COMPACT_MS);
  say(`The history before revision ${revision} is forgotten.`);
  for (const { endpoint } of there.toSorted((a, b) => Number(a.isLeader) - Number(b.isLeader))) {
    await room.defragment(endpoint, DEFRAGMENT_MS);
    say(`${endpoint} has given its free pages back.`);
  }
  await room.disarm();
  const after = answering(await room.members(STATUS_MS));
  for (const member of after) say(`${member.endpoint}: ${sizesOf(member)}.`);
  if (!after.some(({ isFull }) => isFull)) return;
  throw new CodedError('no-capacity', 'The records alone fill the quota of etcd.', {
    advice:
      'Nothing is lost. Raise etcdQuota in machine.yaml on every control node, and restart groundplane-etcd there.',
  });
}

function sizesOf({ sizeBytes, inUseBytes }: Exclude<EtcdMember, { readonly unreachable: string }>): string {
  const [size, inUse] = [sizeBytes, inUseBytes].map((bytes) => Math.ceil(bytes / MIB));
  return `${size} MiB, ${inUse} MiB of it in use`;
}
