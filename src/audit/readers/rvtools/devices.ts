/** What the tabs other than vInfo say about VMs: memory, disks, CD and USB devices, network cards, snapshots. */
import { plainDisk } from '../../estate/defaults.ts';
import { type Disk, type Identity, keyOf, type Nic, type Tie } from '../../estate/estate.ts';
import type { EstateBuilder } from '../../estate/estate-builder.ts';
import { flagOf, numberOf } from '../formats/values.ts';
import { FIX, PLATFORM, type RvToolsExport, type TabView } from './export.ts';
import type { RvToolsLuns } from './luns.ts';
import type { RvToolsNetworks } from './networks.ts';
import { mediaDisk, pathOf } from './paths.ts';
import type { RvToolsStorages } from './storages.ts';

/** What the tabs say about one VM. */
export interface VmRows {
  readonly key: string;
  readonly hostName: string;
  disks: Disk[];
  diskRows: number;
  nics: Nic[];
  nicRows: number;
  ties: Tie[];
  reservedMib: number;
  sizeMib: number | null;
}

/** The subject of a tie by a physical SCSI bus whose disks are all raw. */
export const PHYSICAL_RAW = 'physical, raw disk';

/** Joins the rows of all tabs to the VMs of vInfo. */
export class RvToolsDevices {
  readonly #export: RvToolsExport;
  readonly #into: EstateBuilder;
  readonly #storages: RvToolsStorages;
  readonly #networks: RvToolsNetworks;
  readonly #luns: RvToolsLuns;
  readonly #byId = new Map<string, VmRows>();
  readonly #byName = new Map<string, VmRows[]>();

  constructor(
    rvtools: RvToolsExport,
    into: EstateBuilder,
    from: { readonly storages: RvToolsStorages; readonly networks: RvToolsNetworks; readonly luns: RvToolsLuns },
  ) {
    this.#export = rvtools;
    this.#into = into;
    this.#storages = from.storages;
    this.#networks = from.networks;
    this.#luns = from.luns;
  }

  /** Returns an entry for each row of vInfo, in order, with what the other tabs say. */
  read(): readonly VmRows[] {
    const rows = this.#vmRows();
    this.#memory();
    this.#disks();
    this.#media();
    this.#usb();
    this.#nics();
    this.#snapshots();
    return rows;
  }

  #vmRows(): readonly VmRows[] {
    const view = this.#export.view('vInfo');
    const rows: VmRows[] = [];
    for (let row = 0; row < view.size; row += 1) {
      const name = view.cell(row, 'VM');
      const id = view.cell(row, 'VM ID');
      const key = keyOf(PLATFORM, this.#export.group, name, id === '' ? view.cell(row, 'VM UUID') || `row ${row}` : id);
      const vm: VmRows = {
        key,
        hostName: view.cell(row, 'Host'),
        disks: [],
        diskRows: 0,
        nics: [],
        nicRows: 0,
        ties: [],
        reservedMib: 0,
        sizeMib: null,
      };
      rows.push(vm);
      if (id !== '') this.#byId.set(id, vm);
      const same = this.#byName.get(name);
      if (same === undefined) this.#byName.set(name, [vm]);
      else same.push(vm);
    }
    return rows;
  }

  /** Returns the VMs of a row, by ID, otherwise by name. A name of several VMs means all of them. */
  #owners<T extends 'vMemory' | 'vDisk' | 'vCD' | 'vUSB' | 'vNetwork' | 'vSnapshot'>(
    view: TabView<T>,
    row: number,
  ): readonly VmRows[] {
    const column = (name: 'VM' | 'VM ID'): string => view.cell(row, name as never);
    const byId = this.#byId.get(column('VM ID'));
    if (byId !== undefined) return [byId];
    const name = column('VM');
    const byName = this.#byName.get(name);
    if (byName !== undefined) return byName;
    if (name !== '' && this.#export.has('vInfo') && view.tab !== 'vMemory')
      this.#into.gap({
        platform: PLATFORM,
        group: this.#export.group,
        aspect: 'vms',
        kind: 'join',
        file: view.file,
        part: `tab ${view.tab}`,
        column: 'VM',
        count: 1,
        example: name,
        fix: FIX,
      });
    return [];
  }

  #memory(): void {
    const view = this.#export.view('vMemory');
    for (let row = 0; row < view.size; row += 1)
      for (const vm of this.#owners(view, row)) {
        vm.reservedMib = numberOf(view.cell(row, 'Reservation')) ?? 0;
        vm.sizeMib = numberOf(view.cell(row, 'Size MiB'));
        if (flagOf(view.cell(row, 'Memory Reservation Locked To Max')) === true)
          vm.ties.push({
            kind: 'locked memory',
            effect: 'warns',
            subject: '',
            evidence: view.evidence(row, 'Memory Reservation Locked To Max'),
          });
      }
  }

  #disks(): void {
    const view = this.#export.view('vDisk');
    for (let row = 0; row < view.size; row += 1) {
      const path = pathOf(view.cell(row, 'Path'));
      const capacity = numberOf(view.cell(row, 'Capacity MiB'));
      const disk: Disk = {
        label: view.cell(row, 'Disk'),
        identities: this.#identities(view, row, path),
        permit: permitOf(view, row),
        ...this.#storages.of(path),
        sizeGib: capacity === null ? null : capacity / 1024,
        isReadOnly: false,
        isRaw: flagOf(view.cell(row, 'Raw')) === true,
        isMedia: false,
        evidence: view.evidence(row, path === '' ? 'Disk' : 'Path'),
      };
      const paths = this.#luns.of(view.cell(row, 'Raw LUN ID'));
      for (const vm of this.#owners(view, row)) {
        vm.disks.push(disk);
        if (paths !== undefined)
          vm.disks.push(
            plainDisk({
              label: paths.name,
              reach: { kind: 'hosts', hosts: paths.hosts },
              isRaw: true,
              evidence: paths.evidence,
            }),
          );
        vm.diskRows += 1;
        const tie = busTie(view, row);
        if (tie !== null) vm.ties.push(tie);
      }
    }
  }

  #identities(view: TabView<'vDisk'>, row: number, path: string): readonly Identity[] {
    const lun = view.cell(row, 'Raw LUN ID');
    const identities: Identity[] = [];
    // A LUN number identifies nothing: every array has a LUN 0.
    if (lun.length >= 8) identities.push({ key: keyOf('lun', lun.toLowerCase()), kind: 'LUN', name: lun });
    if (path !== '') identities.push({ key: keyOf('path', this.#export.group, path), kind: 'path', name: path });
    return identities;
  }

  #media(): void {
    const view = this.#export.view('vCD');
    for (let row = 0; row < view.size; row += 1) {
      if (flagOf(view.cell(row, 'Connected')) !== true) continue;
      const type = view.cell(row, 'Device Type');
      const image = /\[[^\]]*\]\s*\S.*$/.exec(type)?.[0] ?? '';
      const place = view.evidence(row, 'Device Type');
      for (const vm of this.#owners(view, row)) {
        // Every host has the image of the guest tools.
        if (/^\[\s*\]/.test(image))
          vm.ties.push({ kind: 'local media', effect: 'informs', subject: image, evidence: place });
        else if (image === '') vm.ties.push({ kind: 'host drive', effect: 'blocks', subject: type, evidence: place });
        else vm.disks.push(mediaDisk(image, this.#storages.of(image), place));
      }
    }
  }

  #usb(): void {
    const view = this.#export.view('vUSB');
    for (let row = 0; row < view.size; row += 1) {
      const type = view.cell(row, 'Device Type');
      if (flagOf(view.cell(row, 'Connected')) !== true || /controller/i.test(type)) continue;
      const subject = view.cell(row, 'Device Node') || type;
      for (const vm of this.#owners(view, row))
        vm.ties.push({ kind: 'usb', effect: 'blocks', subject, evidence: view.evidence(row, 'Connected') });
    }
  }

  #nics(): void {
    const view = this.#export.view('vNetwork');
    for (let row = 0; row < view.size; row += 1)
      for (const vm of this.#owners(view, row)) {
        vm.nicRows += 1;
        const adapter = view.cell(row, 'Adapter');
        if (/sr-?iov|passthr/i.test(adapter))
          vm.ties.push({ kind: 'sr-iov', effect: 'blocks', subject: adapter, evidence: view.evidence(row, 'Adapter') });
        const tie = directPathTie(view, row);
        if (tie !== null && !vm.ties.some(({ kind }) => kind === tie.kind)) vm.ties.push(tie);
        const nic = this.#networks.nic(view, row, vm.hostName);
        if (nic !== null) vm.nics.push(nic);
      }
  }

  #snapshots(): void {
    const view = this.#export.view('vSnapshot');
    for (let row = 0; row < view.size; row += 1)
      for (const vm of this.#owners(view, row)) {
        const subject = view.cell(row, 'Name');
        vm.ties.push({ kind: 'snapshot', effect: 'informs', subject, evidence: view.evidence(row, 'Name') });
      }
  }
}

/** A card that may be used directly: whether the guest does so now is not in the export. */
function directPathTie(view: TabView<'vNetwork'>, row: number): Tie | null {
  if (flagOf(view.cell(row, 'Direct Path IO')) !== true) return null;
  return { kind: 'direct path', effect: 'informs', subject: '', evidence: view.evidence(row, 'Direct Path IO') };
}

function permitOf(view: TabView<'vDisk'>, row: number): Disk['permit'] {
  const bus = view.cell(row, 'Shared Bus');
  if (bus !== '' && /physical|virtual/i.test(bus))
    return { kind: 'shared bus', evidence: view.evidence(row, 'Shared Bus') };
  const sharing = view.cell(row, 'Sharing mode');
  if (/multi-?writer/i.test(sharing)) return { kind: 'multi-writer', evidence: view.evidence(row, 'Sharing mode') };
  return null;
}

function busTie(view: TabView<'vDisk'>, row: number): Tie | null {
  const bus = view.cell(row, 'Shared Bus');
  if (!/physical|virtual/i.test(bus)) return null;
  const isRaw = flagOf(view.cell(row, 'Raw')) === true;
  const subject = /physical/i.test(bus) ? (isRaw ? PHYSICAL_RAW : 'physical, no raw disk') : 'virtual';
  return { kind: 'shared bus', effect: 'blocks', subject, evidence: view.evidence(row, 'Shared Bus') };
}
