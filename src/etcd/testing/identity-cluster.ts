/**
 * For tests: a real etcd cluster as in production: one authority for all processes (src/pki), so that at first the
 * certificate of any control or storage node gives access to etcd. Member m1 is control node c1, and so on.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ETCD_CLIENT_NAME, ETCD_MEMBER_NAME, type PeerIdentity } from '../../base/identity.ts';
import { parseControlName } from '../../base/ids.ts';
import { type CertifiedKey, createAuthority, issue } from '../../pki/authority.ts';
import type { EtcdOptions } from '../transport.ts';
import { newPlace, processesOf, spawnMembers, type TestCluster, untilLed } from './etcd-cluster.ts';

export interface IdentityCluster extends Pick<TestCluster, 'members' | 'kill' | 'signal' | 'stop'> {
  /** Options for a client with a certificate of `identity`, verifying each member by its address. */
  optionsOf(identity: PeerIdentity, endpoints?: readonly string[]): Promise<EtcdOptions>;
  /** As c1. */
  clientOptions(): EtcdOptions;
  readonly authority: CertifiedKey;
  /** Gives a member a new key and certificate, by any authority, with certificates of authorities after it. */
  renewMember(name: string, by?: CertifiedKey, chainPem?: string): Promise<void>;
}

const NAMES = { clientName: ETCD_CLIENT_NAME, peerName: ETCD_MEMBER_NAME };
/** The source address of connections to loopback addresses, where none is chosen. */
const LOOPBACK = '127.0.0.1';

/** Starts `size` members and waits until they have a leader. The caller must stop() it. */
export async function startIdentityCluster(
  size: 1 | 3,
  { quotaBytes }: { readonly quotaBytes?: number } = {},
): Promise<IdentityCluster> {
  const place = newPlace(size);
  const file = (name: string): string => join(place.dir, name);
  const authority = await createAuthority({ clusterName: 'test', daysValid: 2 });
  writeFileSync(file('ca.pem'), authority.certPem);
  const renewMember: IdentityCluster['renewMember'] = async (name, by = authority, chainPem = '') => {
    const identity: PeerIdentity = { kind: 'control', name: parseControlName(name.replace('m', 'c')) };
    const host = place.hosts[Number(name.slice(1)) - 1] ?? '';
    const own = await issue(by, { identity, ipAddresses: [host, LOOPBACK], daysValid: 1 });
    writeFileSync(file(`${name}.pem`), own.certPem + chainPem);
    writeFileSync(file(`${name}.key`), own.keyPem, { mode: 0o600 });
  };
  for (const i of place.hosts.keys()) await renewMember(`m${i + 1}`);
  const members = spawnMembers(place, (name) => {
    const [caFile, certFile, keyFile] = [file('ca.pem'), file(`${name}.pem`), file(`${name}.key`)];
    const quota = quotaBytes === undefined ? {} : { quotaBytes };
    return {
      ...quota,
      tls: { caFile, certFile, keyFile, peerCaFile: caFile, peerCertFile: certFile, peerKeyFile: keyFile, ...NAMES },
    };
  });
  const addresses = members.map((member) => member.clientAddress);
  const optionsOf = async (identity: PeerIdentity, endpoints?: readonly string[]): Promise<EtcdOptions> => {
    const own = await issue(authority, {
      identity,
      daysValid: 1,
      ...(identity.kind === 'control' ? { ipAddresses: [LOOPBACK] } : {}),
    });
    return { endpoints: endpoints ?? addresses, tls: { caPem: authority.certPem, ...own } };
  };
  const first = await optionsOf({ kind: 'control', name: parseControlName('c1') });
  const cluster: IdentityCluster = {
    ...processesOf(place.dir, members),
    ...{ optionsOf, authority, renewMember },
    clientOptions: () => first,
  };
  await untilLed(cluster);
  return cluster;
}
