/**
 * Networks in an export of RVTools: which ones have an uplink (a row of vNIC, an uplink of dvPort), and which hosts
 * have them.
 */

import { type Evidence, keyOf, type Network, type Nic, type Reach } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import { flagOf } from '../formats/values.ts';
import type { RvToolsExport, TabView } from './export.ts';

/** The networks of one export. */
export class RvToolsNetworks {
  readonly #export: RvToolsExport;
  readonly #into: EstateBuilder;
  /** Hosts with a row in vNIC, and pairs of host and switch with a network adapter. */
  readonly #hostsWithNics = new Set<string>();
  readonly #uplinks = new Map<string, Set<string>>();
  readonly #portHosts = new Map<string, Set<string>>();
  readonly #dvPorts = new Map<string, { row: number; isIsolated: boolean }>();
  readonly #dvMembers = new Map<string, Set<string>>();
  readonly #dvSwitches = new Set<string>();

  constructor(rvtools: RvToolsExport, into: EstateBuilder) {
    this.#export = rvtools;
    this.#into = into;
  }

  /** Reads the tabs about the hosts' networks. */
  readHosts(): void {
    const nics = this.#export.view('vNIC');
    for (let row = 0; row < nics.size; row += 1) {
      const host = this.#export.hostKey(nics.cell(row, 'Host'));
      this.#hostsWithNics.add(host);
      const name = nics.cell(row, 'Switch');
      if (name !== '') this.#uplinks.set(name, (this.#uplinks.get(name) ?? new Set()).add(host));
    }
    const ports = this.#export.view('vPort');
    for (let row = 0; row < ports.size; row += 1) {
      const name = ports.cell(row, 'Port Group');
      if (name === '' || ports.cell(row, 'Host') === '') continue;
      this.#portHosts.set(
        name,
        (this.#portHosts.get(name) ?? new Set()).add(this.#export.hostKey(ports.cell(row, 'Host'))),
      );
    }
    this.#readDistributed();
  }

  #readDistributed(): void {
    const switches = this.#export.view('dvSwitch');
    for (let row = 0; row < switches.size; row += 1) {
      const name = switches.cell(row, 'Name');
      this.#dvSwitches.add(name);
      const members = switches
        .cell(row, 'Host members')
        .split(/[,;\n]/)
        .map((one) => one.trim());
      const keys = members.filter((one) => one !== '').map((one) => this.#export.hostKey(one));
      if (keys.length > 0) this.#dvMembers.set(name, new Set(keys));
    }
    const ports = this.#export.view('dvPort');
    const says = ports.has('Active Uplink') && ports.has('Standby Uplink');
    for (let row = 0; row < ports.size; row += 1) {
      const name = ports.cell(row, 'Switch');
      this.#dvSwitches.add(name);
      const none = (column: 'Active Uplink' | 'Standby Uplink'): boolean => ports.cell(row, column) === '';
      const isIsolated = says && none('Active Uplink') && none('Standby Uplink');
      this.#dvPorts.set(keyOf(name, ports.cell(row, 'Port')), { row, isIsolated });
    }
  }

  /** Returns the NIC of a row of vNetwork; null if it is not connected. */
  nic(view: TabView<'vNetwork'>, row: number, hostName: string): Nic | null {
    if (view.has('Connected') && flagOf(view.cell(row, 'Connected')) === false) return null;
    const name = view.cell(row, 'Network');
    const address = view.cell(row, 'IPv4 Address');
    const place = view.evidence(row, 'Network');
    if (name === '' || !view.has('Switch')) return { network: null, address, evidence: place };
    const network = this.#networkOf(name, view.cell(row, 'Switch'), hostName, view, row);
    if (network !== null) this.#into.network(network);
    return { network: network?.key ?? null, address, evidence: place };
  }

  #networkOf(
    name: string,
    switchName: string,
    hostName: string,
    view: TabView<'vNetwork'>,
    row: number,
  ): Network | null {
    const { group } = this.#export;
    if (this.#dvSwitches.has(switchName)) {
      const key = keyOf('rvtools', group, 'dv', switchName, name);
      const port = this.#dvPorts.get(keyOf(switchName, name));
      const ports = this.#export.view('dvPort');
      const place = port === undefined ? view.evidence(row, 'Switch') : ports.evidence(port.row, 'Active Uplink');
      return {
        key,
        name,
        reach: this.#dvReach(switchName, port),
        isIsolated: port?.isIsolated ?? false,
        evidence: place,
      };
    }
    const host = this.#export.hostKey(hostName);
    // A missing tab is a gap already.
    if (!this.#export.has('vNIC') || !this.#export.has('vPort') || hostName === '') return null;
    const hosts = this.#portHosts.get(name);
    const hasUplink = this.#uplinks.get(switchName)?.has(host) ?? false;
    const isIsolated =
      switchName !== '' && !hasUplink && this.#hostsWithNics.has(host) && this.#export.view('vNIC').has('Switch');
    const reach: Reach =
      hosts === undefined || (!hasUplink && !isIsolated) ? { kind: 'unknown' } : { kind: 'hosts', hosts };
    const isStandard = isIsolated || hasUplink;
    const key = keyOf('rvtools', group, isIsolated ? host : '', isStandard ? switchName : '', name);
    return {
      key,
      name,
      reach,
      isIsolated,
      evidence: isIsolated ? this.#noUplink(hostName, switchName) : view.evidence(row, 'Network'),
    };
  }

  #noUplink(hostName: string, switchName: string): Evidence {
    const { file } = this.#export.view('vNIC');
    return evidence(file, 'tab vNIC', '', 'Switch', `no adapter of ${hostName} is on ${switchName}`);
  }

  #dvReach(switchName: string, port: { readonly isIsolated: boolean } | undefined): Reach {
    // A port that dvPort does not list may have no uplink.
    if (port === undefined) return { kind: 'unknown' };
    const members = this.#dvMembers.get(switchName) ?? this.#uplinks.get(switchName);
    return members === undefined ? { kind: 'unknown' } : { kind: 'hosts', hosts: members };
  }
}
