/**
 * Whom a control node refuses, as every process of the cluster does at each handshake: in production the leader tells
 * them (core/loop/duties/certificate-keeper.ts), here each control node follows etcd itself.
 */
import { CodedError } from '../../base/errors.ts';
import type { Topology } from '../machines/topology.ts';

/** A machine by the certificate that it shows; `serial`: its number, null where that is not played. */
export interface ShownCertificate {
  readonly id: string;
  readonly serial: string | null;
}

/** CodedError 'unavailable' if a control node knows that a machine's identity or certificate is denied. */
export function demandAdmitted(topology: Topology, control: string, { id, serial }: ShownCertificate): void {
  const record = topology.controls.get(control)?.context?.store.certificates.get(id)?.value;
  if (record === undefined) return;
  if (record.removed === null && !record.denied.some((denied) => denied.serial === serial)) return;
  throw new CodedError('unavailable', `The certificate of ${id} is denied.`);
}
