/**
 * Reads vMultiPath: the hosts that have a path to a LUN, and LUNs that no datastore uses. RVTools writes the ID of a
 * raw disk as a long `vml` number, in which the `naa` number of vMultiPath is contained.
 */

import type { Evidence } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import type { RvToolsExport } from './export.ts';

interface Lun {
  readonly name: string;
  readonly hosts: Set<string>;
  hasDatastore: boolean;
  readonly evidence: Evidence;
}

/** Lengths of the hexadecimal numbers of `naa.` and `eui.` names. */
const DIGITS = [32, 16] as const;

/** The LUNs of one export, by the number in their names. */
export class RvToolsLuns {
  readonly #luns = new Map<string, Lun>();

  constructor(rvtools: RvToolsExport) {
    const view = rvtools.view('vMultiPath');
    for (let row = 0; row < view.size; row += 1) {
      const name = view.cell(row, 'Disk');
      const number = /^(?:naa|eui)\.([0-9a-f]+)$/i.exec(name)?.[1]?.toLowerCase();
      if (number === undefined || view.cell(row, 'Host') === '') continue;
      const lun = this.#luns.get(number) ?? newLun(name, view.evidence(row, 'Disk'));
      this.#luns.set(number, lun);
      lun.hosts.add(rvtools.hostKey(view.cell(row, 'Host')));
      lun.hasDatastore ||= view.cell(row, 'Datastore') !== '';
    }
  }

  /** Returns the LUN of a raw disk by `Raw LUN ID`; undefined: vMultiPath does not list it. */
  of(rawId: string): Omit<Lun, 'hasDatastore'> | undefined {
    const text = rawId.toLowerCase().replace(/^(?:naa|eui|vml)\./, '');
    for (const digits of DIGITS)
      for (let at = 0; at + digits <= text.length; at += 1) {
        const lun = this.#luns.get(text.slice(at, at + digits));
        if (lun !== undefined) return lun;
      }
    return undefined;
  }

  /** Adds the LUNs without a datastore that several hosts see: disks that guests open themselves, if anybody does. */
  tell(into: EstateBuilder): void {
    for (const { name, hosts, hasDatastore, evidence: place } of this.#luns.values())
      if (!hasDatastore && hosts.size > 1)
        into.guestLun({
          name,
          isReserved: false,
          hosts,
          evidence: evidence(place.file, place.part, place.row, 'Datastore', 'none'),
        });
  }
}

function newLun(name: string, place: Evidence): Lun {
  return { name, hosts: new Set(), hasDatastore: false, evidence: place };
}
