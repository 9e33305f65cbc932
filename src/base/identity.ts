/**
 * Who is who: every process of a cluster has one identity, and a certificate says it twice, as subject and as DNS name.
 * Pure. Guarantees: the mappings are one-to-one, so that comparing strings is comparing identities; no name can be
 * chosen so that it reads as another kind.
 *
 *   identity                        subject (CN)                     DNS name
 *   control c1                      control:c1                       c1.control.groundplane
 *   host h1                         host:h1                          h1.host.groundplane
 *   storage s1                      storage:s1                       s1.storage.groundplane
 *   VM vm-0123456789ab, run 7       incarnation:vm-0123456789ab:7    g7.vm-0123456789ab.vm.groundplane
 *   authority of cluster lab        authority:lab                    none: it signs, it never speaks
 *
 * Control and storage nodes have names beside that, which say that etcd may let them in (`etcdNames`).
 */

import { unreachable } from './assert.ts';
import { CodedError } from './errors.ts';
import {
  type ControlName,
  type Generation,
  type HostName,
  isName,
  parseControlName,
  parseGeneration,
  parseHostName,
  parseStorageName,
  parseVmId,
  type StorageName,
  type VmId,
} from './ids.ts';

/** The identity of a peer: the holder of a certificate's key. */
export type PeerIdentity =
  | { readonly kind: 'control'; readonly name: ControlName }
  | { readonly kind: 'host'; readonly name: HostName }
  | { readonly kind: 'storage'; readonly name: StorageName }
  /** One run of a VM: the credential of its QEMU process, for its monitors and its disks. */
  | { readonly kind: 'incarnation'; readonly vmId: VmId; readonly generation: Generation };

/** Every subject that a certificate of the cluster can have. */
export type Identity = PeerIdentity | { readonly kind: 'authority'; readonly clusterName: string };

const DOMAIN = 'groundplane';

/** The subject's common name; at most 64 characters (X.520's bound), as names have at most 40. */
export function commonName(identity: Identity): string {
  switch (identity.kind) {
    case 'control':
    case 'host':
    case 'storage':
      return `${identity.kind}:${identity.name}`;
    case 'incarnation':
      return `incarnation:${identity.vmId}:${identity.generation}`;
    case 'authority':
      return `authority:${identity.clusterName}`;
    default:
      return unreachable(identity);
  }
}

/** The name that a peer's certificate must hold and that a client asks for (SNI). */
export function dnsName(identity: PeerIdentity): string {
  return identity.kind === 'incarnation'
    ? `g${identity.generation}.${identity.vmId}.vm.${DOMAIN}`
    : `${identity.name}.${identity.kind}.${DOMAIN}`;
}

/**
 * The TLS server name that a client uses if it knows the address of a control node and not its name: a node that has
 * another certificate for browsers, for names of the organisation, answers with the cluster's certificate.
 */
export const ANY_CONTROL_NAME = `any.control.${DOMAIN}`;
/** The DNS name that etcd requires in a client's certificate; QEMUs' and hosts' certificates do not have it. */
export const ETCD_CLIENT_NAME = `client.etcd.${DOMAIN}`;
/** The DNS name that etcd's members require in each other's certificates. */
export const ETCD_MEMBER_NAME = `member.etcd.${DOMAIN}`;
const ETCD_NAMES: ReadonlySet<string> = new Set([ETCD_CLIENT_NAME, ETCD_MEMBER_NAME]);

/**
 * Returns the DNS names with which etcd accepts a process's certificate, besides the name that identifies the process.
 */
export function etcdNames({ kind }: PeerIdentity): readonly string[] {
  if (kind === 'control') return [ETCD_CLIENT_NAME, ETCD_MEMBER_NAME];
  return kind === 'storage' ? [ETCD_CLIENT_NAME] : [];
}

/** Returns true for a name from `etcdNames`, which does not identify a process. */
export function isEtcdName(text: string): boolean {
  return ETCD_NAMES.has(text);
}

/**
 * The string that QEMU's authz-simple and authz-list compare: gnutls_x509_crt_get_dn, which is RFC 4514 form. A colon
 * is not escaped there, and our names contain no character that would be; seen with QEMU 7.2.
 */
export function qemuAuthzName(identity: PeerIdentity): string {
  return `CN=${commonName(identity)}`;
}

/** The identity of a common name, or undefined if the name is not in our form. */
export function parseCommonName(text: string): Identity | undefined {
  const [kind, name, generation, ...rest] = text.split(':');
  if (name === undefined || rest.length > 0 || (generation !== undefined) !== (kind === 'incarnation'))
    return undefined;
  if (kind === 'authority') return isName(name) ? { kind, clusterName: name } : undefined;
  return peerOf(kind, name, generation);
}

/** The identity of a DNS name, or undefined if the name is not in our form. */
export function parseDnsName(text: string): PeerIdentity | undefined {
  const labels = text.split('.');
  if (labels.pop() !== DOMAIN) return undefined;
  const kind = labels.pop();
  if (kind === 'vm') {
    const [generation, vmId, ...rest] = labels;
    if (rest.length > 0 || vmId === undefined || generation === undefined || !generation.startsWith('g'))
      return undefined;
    return peerOf('incarnation', vmId, generation.slice(1));
  }
  const [name, ...rest] = labels;
  if (kind === 'incarnation' || name === undefined || rest.length > 0) return undefined;
  return peerOf(kind, name, undefined);
}

/** Whether both are the same process identity. */
export function sameIdentity(a: Identity, b: Identity): boolean {
  return commonName(a) === commonName(b);
}

function peerOf(kind: string | undefined, name: string, generation: string | undefined): PeerIdentity | undefined {
  try {
    switch (kind) {
      case 'control':
        return { kind, name: parseControlName(name) };
      case 'host':
        return { kind, name: parseHostName(name) };
      case 'storage':
        return { kind, name: parseStorageName(name) };
      case 'incarnation':
        // One spelling per number: 07 or +7 would be a second name of the same incarnation.
        if (generation === undefined || !/^[1-9]\d{0,15}$/.test(generation) || !name.startsWith('vm-'))
          return undefined;
        return { kind, vmId: parseVmId(name), generation: parseGeneration(Number(generation)) };
      default:
        return undefined;
    }
  } catch (error) {
    if (error instanceof CodedError) return undefined;
    throw error;
  }
}
