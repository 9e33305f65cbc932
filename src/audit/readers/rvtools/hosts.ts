/** Hosts and clusters of an RVTools export: the tabs vHost and vCluster. */
import { type FailoverReserve, keyOf } from '../../estate/estate.ts';
import type { EstateBuilder } from '../../estate/estate-builder.ts';
import { flagOf, numberOf } from '../formats/values.ts';
import { PLATFORM, type RvToolsExport, type TabView } from './export.ts';

/** Reads the hosts of one export. */
export class RvToolsHosts {
  readonly #export: RvToolsExport;
  readonly #into: EstateBuilder;

  constructor(rvtools: RvToolsExport, into: EstateBuilder) {
    this.#export = rvtools;
    this.#into = into;
  }

  /** Adds all hosts, with their clusters. */
  read(): void {
    const view = this.#export.view('vHost');
    for (let row = 0; row < view.size; row += 1) {
      const name = view.cell(row, 'Host');
      if (name === '') continue;
      const key = this.#export.hostKey(name);
      const maintenance = flagOf(view.cell(row, 'in Maintenance Mode'));
      const evc = view.cell(row, 'Current EVC');
      const model = view.cell(row, 'CPU Model');
      this.#into.host({
        key,
        name,
        platform: PLATFORM,
        group: this.#export.group,
        cluster: this.#cluster(view, row, key, name),
        memoryMib: numberOf(view.cell(row, '# Memory')),
        state: maintenance === null ? 'unknown' : maintenance ? 'out of service' : 'in service',
        cpu: evc !== '' ? `EVC ${evc}` : model === '' || !view.has('Current EVC') ? null : model,
        cpuModel: model === '' ? null : model,
        // Old versions wrote the number of all VMs into the column of running VMs.
        saysRunning: view.has('# VMs total') ? numberOf(view.cell(row, '# VMs')) : null,
        labels: {},
        evidence: view.evidence(row, 'Host'),
      });
    }
  }

  #cluster(view: TabView<'vHost'>, row: number, hostKey: string, hostName: string): string | null {
    if (!view.has('Cluster')) return null;
    const name = view.cell(row, 'Cluster');
    const key = name === '' ? hostKey : keyOf(PLATFORM, this.#export.group, view.cell(row, 'Datacenter'), name);
    return this.#into.cluster({
      key,
      name: name === '' ? hostName : name,
      platform: PLATFORM,
      group: this.#export.group,
      reserve: name === '' ? undefined : this.#reserve(name),
    });
  }

  /** Returns the room that admission control keeps; a name of two clusters says nothing. */
  #reserve(cluster: string): FailoverReserve | undefined {
    const view = this.#export.view('vCluster');
    const rows = Array.from({ length: view.size }, (_, row) => row).filter((row) => view.cell(row, 'Name') === cluster);
    const [row, second] = rows;
    if (row === undefined || second !== undefined) return undefined;
    const isOn = flagOf(view.cell(row, 'HA enabled')) === true && flagOf(view.cell(row, 'AdmissionControlEnabled'));
    const hosts = numberOf(view.cell(row, 'Failover Level')) ?? 0;
    return isOn === true && hosts > 0 ? { hosts, evidence: view.evidence(row, 'Failover Level') } : undefined;
  }
}
