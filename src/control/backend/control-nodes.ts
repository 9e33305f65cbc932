/** Control nodes through the API: which one leads, and how each is. */
import type { NodeDrainPlan } from '../../api/maintenance-views.ts';
import type { DrainNode, PageQuery } from '../../api/requests.ts';
import type { ControlNode, Health } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import type { ControlRecord } from '../../core/model/cluster.ts';
import { PORTS } from '../../core/model/ports.ts';
import { removeControl } from '../../core/request/control-removal.ts';
import {
  type ControlSight,
  drainControl,
  type EtcdSeat,
  planControlDrain,
  undrainControl,
} from '../../core/request/node-drains.ts';
import type { Call, Leader } from '../api/call.ts';
import type { Page } from '../api/pages.ts';
import { basisOf, change } from './changes.ts';
import type { BackendContext } from './context.ts';
import { pageOfTable } from './table-page.ts';
import { nodeMaintenanceView } from './views.ts';

/** Control nodes, as one of them knows them. */
export class ControlNodesBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** The leader; null while no node leads, or while this node was elected and has not begun to lead. */
  leader(): Leader | null {
    return leaderOf(this.#context);
  }

  /** The health of this node. */
  async health(): Promise<Health> {
    const { store, name, version } = this.#context;
    const leader = this.leader();
    return {
      ok: store.connected && leader !== null,
      name,
      leader: leader?.name ?? null,
      storeReachable: store.connected,
      waitingFor: this.#context.waitingFor(),
      version,
      release: store.releases.get('cluster')?.value.release ?? null,
    };
  }

  /** Every control node. */
  all(): Promise<readonly ControlNode[]> {
    return Promise.all([...this.#context.store.controls.values()].map(({ value }) => this.#view(value)));
  }

  async list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<ControlNode>> {
    const page = await pageOfTable(this.#context.store.controls, query, { signal, view: ({ value }) => value });
    return { ...page, items: await Promise.all(page.items.map((control) => this.#view(control))) };
  }

  /** The result of a dry run of draining a control node. The errors of `drainControl`. */
  async planDrain(name: string, asked: DrainNode, { principal }: Pick<Call, 'principal'>): Promise<NodeDrainPlan> {
    const sight = await this.#sight();
    const request = { ...asked, name, who: principal.name };
    const consequences = planControlDrain(basisOf(this.#context), { ...sight, leader: this.leader()?.name }, request);
    return { node: name, consequences };
  }

  /** Takes a control node out of service. The errors of `drainControl`. */
  async drain(name: string, asked: DrainNode, { principal }: Pick<Call, 'principal'>): Promise<ControlNode> {
    const sight = await this.#sight();
    await change(this.#context, (basis) => drainControl(basis, sight, { ...asked, name, who: principal.name }));
    return this.#get(name);
  }

  /** Takes a control node back. The errors of `undrainControl`. */
  async undrain(name: string, { principal }: Pick<Call, 'principal'>): Promise<ControlNode> {
    await change(this.#context, (basis) => undrainControl(basis, { name, who: principal.name }));
    return this.#get(name);
  }

  async #sight(): Promise<ControlSight> {
    const { etcdSpace, store } = this.#context;
    const alive = (await this.all()).flatMap(({ name, state }) => (state === 'alive' ? [name] : []));
    const controlAt = new Map([...store.controls.values()].map(({ value }) => [value.address, value.name]));
    const etcd = etcdSpace.members.map((member): EtcdSeat => {
      const address = member.endpoint.replace(/^https?:\/\//, '').replace(/:\d+$/, '');
      const fault = 'unreachable' in member ? 'does not answer' : member.isCorrupt ? 'has corrupt data' : null;
      return { endpoint: member.endpoint, control: controlAt.get(address) ?? null, fault };
    });
    return { alive: new Set(alive), etcd };
  }

  #get(name: string): Promise<ControlNode> {
    const control = this.#context.store.controls.get(name)?.value;
    if (control === undefined) throw new CodedError('not-found', `There is no control node ${name}.`);
    return this.#view(control);
  }

  /**
   * Removes a control node: its record, its member of etcd, its rights there. CodedError 'not-found', or 'conflict' for
   * the last one and for one whose server answers: the member of etcd of a machine that goes on would be missing there.
   * It may be repeated.
   */
  async delete(name: string, { principal }: Pick<Call, 'principal'>): Promise<void> {
    const { store, etcdMembers } = this.#context;
    const record = store.controls.get(name)?.value;
    if (record === undefined) throw new CodedError('not-found', `There is no control node ${name}.`);
    const advice = 'Nothing was changed.';
    if (store.controls.size === 1)
      throw new CodedError('conflict', `${name} is the last control node of the cluster.`, { advice });
    if (name === this.#context.name || (await this.#context.controlAnswers(record)))
      throw new CodedError('conflict', `The server of ${name} answers.`, {
        advice: `${advice} Run \`gp leave\` there, or stop its server first.`,
      });
    await etcdMembers.remove(record);
    await change(this.#context, (basis) => removeControl(basis, { name, by: principal.name }));
  }

  async #view(control: ControlRecord): Promise<ControlNode> {
    const { version, name: self } = this.#context;
    const isSelf = control.name === self;
    const isAlive = isSelf || (await this.#context.controlAnswers(control));
    return {
      name: control.name,
      leader: control.name === this.leader()?.name,
      state: isAlive ? 'alive' : 'dead',
      address: control.address,
      version: isSelf ? version : (control.version ?? null),
      maintenance: nodeMaintenanceView(control.maintenance),
    };
  }
}

/** See `ControlNodesBackend.leader`. */
export function leaderOf(context: BackendContext): Leader | null {
  const { name } = context;
  if (context.leading() !== null) return { self: true, name };
  const leader = context.leader();
  // A leader that has not begun to lead yet must not forward to itself.
  if (leader === null || leader.name === name) return null;
  return { self: false, name: leader.name, origin: `https://${leader.address}:${PORTS.control}` };
}
