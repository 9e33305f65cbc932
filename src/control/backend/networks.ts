/** Networks through the API. */
import { randomInt } from 'node:crypto';
import type { CreateNetwork, PageQuery } from '../../api/requests.ts';
import type { Network } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { parseNetworkName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { NetworkRecord } from '../../core/model/cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import { LIMITS } from '../../core/model/limits.ts';
import { cardsOf } from '../../core/model/vm.ts';
import { demandUsersKnown } from '../../core/plan/vm/unreadable.ts';
import { demandCount } from '../../core/plan/vm-admission.ts';
import type { Entry } from '../../core/ports/store.ts';
import type { Call, Conditional } from '../api/backend.ts';
import type { Page } from '../api/pages.ts';
import { demandUsableRange, gatewayOf, type Ipv4Range, ipv4ToNumber, parseRange } from './addresses.ts';
import { change, checkRevision } from './changes.ts';
import type { BackendContext } from './context.ts';
import { pageOfTable } from './table-page.ts';
import { networkView } from './views.ts';

const VNI_MIN = 4_096;
const VNI_MAX = 16_777_216;

/** Networks, each with a VXLAN identifier of its own; one in use cannot be deleted. */
export class NetworksBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Network>> {
    return pageOfTable(this.#context.store.networks, query, {
      signal,
      view: (entry) => networkView(this.#context, entry),
    });
  }

  get(name: string): Network {
    return networkView(this.#context, this.#find(name));
  }

  async create(request: CreateNetwork): Promise<Network> {
    const name = parseNetworkName(request.name);
    const range = request.cidr === undefined ? null : parseRange(request.cidr);
    if (range === null && (request.dhcp === true || request.nat === true)) {
      throw new CodedError(
        'bad-input',
        `Network ${name} needs a range for ${request.dhcp === true ? 'DHCP' : 'NAT'}.`,
        { advice: 'Nothing was created. Give it one with --cidr.' },
      );
    }
    if (range !== null) demandUsableRange(request.cidr ?? '', range);
    await change(this.#context, () => {
      if (this.#context.store.networks.get(name) !== undefined) {
        throw new CodedError('exists', `A network named ${name} exists.`, {
          advice: 'Nothing was created. Choose another name.',
        });
      }
      if (range !== null) {
        this.#refuseOverlap(name, range);
        this.#refuseClusterAddresses(name, range);
      }
      demandCount(this.#context.store.networks.size, LIMITS.networks);
      const vni = this.#freeVni();
      const network: NetworkRecord = {
        name,
        vni,
        cidr: request.cidr ?? null,
        gateway: range === null ? null : gatewayOf(range),
        dhcp: request.dhcp ?? false,
        nat: request.nat ?? false,
        reservations: {},
        createdAt: this.#context.clock.wallMs(),
      };
      const writes = [
        { key: keyOf.network(name), value: network, expect: 0 },
        { key: keyOf.networkVni(vni), value: name, expect: 0 },
      ];
      return { writes, result: null };
    });
    return this.get(name);
  }

  async delete(name: string, { ifMatch }: Conditional): Promise<void> {
    await change(this.#context, () => {
      const entry = this.#find(name);
      checkRevision(entry, ifMatch, `Network ${name}`);
      demandUsersKnown(this.#context.store.unreadable);
      const users = [...this.#context.store.vms.values()]
        .filter(({ value }) => cardsOf(value).some((card) => card.network === name))
        .map(({ value }) => value.name);
      if (users.length > 0) {
        throw new CodedError('conflict', `Network ${name} is used by ${listed(users)}.`, {
          advice: 'Nothing was deleted. Delete those VMs first.',
        });
      }
      const writes = [
        { key: keyOf.network(entry.value.name), value: null, expect: entry.revision },
        { key: keyOf.networkVni(entry.value.vni), value: null, expect: null },
      ];
      return { writes, result: null };
    });
  }

  /** Every host has a gateway in each of its networks: two ranges that overlap could not both be reached from it. */
  #refuseOverlap(name: string, range: Ipv4Range): void {
    for (const { value } of this.#context.store.networks.values()) {
      if (value.cidr === null) continue;
      const other = parseRange(value.cidr);
      if (range.first + range.size <= other.first || other.first + other.size <= range.first) continue;
      throw new CodedError('conflict', `The range of ${name} overlaps that of network ${value.name} (${value.cidr}).`, {
        advice: 'Nothing was created. Choose another range, or none.',
      });
    }
  }

  /** A host with such a gateway would look for the cluster's machines among the guests. */
  #refuseClusterAddresses(name: string, range: Ipv4Range): void {
    const { hosts, storage, controls } = this.#context.store;
    const machines = [
      ...[...hosts.values()].map(({ value }) => ({ of: value.name, addresses: Object.values(value.addresses) })),
      ...[...storage.values()].map(({ value }) => ({ of: value.name, addresses: Object.values(value.addresses) })),
      ...[...controls.values()].map(({ value }) => ({ of: value.name, addresses: [value.address] })),
    ];
    for (const { of, addresses } of machines) {
      const inside = addresses.find((address) => {
        const at = ipv4ToNumber(address) - range.first;
        return at >= 0 && at < range.size;
      });
      if (inside === undefined) continue;
      throw new CodedError('conflict', `The range of ${name} holds addresses of the cluster: ${inside} is ${of}’s.`, {
        advice: 'Nothing was created. Choose another range, or none.',
      });
    }
  }

  #find(name: string): Entry<NetworkRecord> {
    const entry = this.#context.store.networks.get(name);
    if (entry === undefined)
      throw new CodedError('not-found', `There is no network ${name}.`, {
        advice: 'List them with "gp network list".',
      });
    return entry;
  }

  #freeVni(): number {
    const tries = 1_000;
    for (let attempt = 0; attempt < tries; attempt++) {
      const vni = randomInt(VNI_MIN, VNI_MAX);
      if (this.#context.store.networkVnis.get(String(vni)) === undefined) return vni;
    }
    throw new CodedError('no-capacity', 'No free VXLAN network identifier was found.');
  }
}
