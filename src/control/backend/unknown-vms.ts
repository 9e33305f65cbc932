/** VMs that no record knows through the API: the leader lists them, and people adopt or delete them. */
import type {
  AdoptUnknownVm,
  DeleteUnknownVmQuery,
  UnknownVmDeletion,
  UnknownVm as UnknownVmView,
} from '../../api/unknown-views.ts';
import type { VmDetail } from '../../api/views.ts';
import { CodedError, messageOf } from '../../base/errors.ts';
import { parseVmId } from '../../base/ids.ts';
import { KeyOrder } from '../../base/key-order.ts';
import { NobodyLeads } from '../../base/problem.ts';
import type { Controller } from '../../core/loop/controller.ts';
import type { UnknownVm } from '../../core/plan/restore/unknown.ts';
import type { MachineFacts } from '../../core/ports/qmp-link.ts';
import { adoptUnknown, deleteUnknown, wordsOf } from '../../core/request/unknown-vms.ts';
import type { Call } from '../api/call.ts';
import { type Page, type PageQuery, pageOf } from '../api/pages.ts';
import { change } from './changes.ts';
import type { BackendContext } from './context.ts';
import type { VmsBackend } from './vms.ts';

/** See the module. */
export class UnknownVmsBackend {
  readonly #context: BackendContext;
  readonly #vms: VmsBackend;

  constructor(context: BackendContext, vms: VmsBackend) {
    this.#context = context;
    this.#vms = vms;
  }

  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<UnknownVmView>> {
    const byId = new Map(
      this.#controller()
        .unknown.list()
        .map((one) => [String(one.vm), one]),
    );
    const view = (id: string): UnknownVmView | null => {
      const one = byId.get(id);
      return one === undefined ? null : viewOf(one);
    };
    return pageOf({ order: new KeyOrder(byId.keys()), view }, query, signal);
  }

  /** Makes a record of one. The errors of `adoptUnknown`, and 'not-found'. */
  async adopt(id: string, request: AdoptUnknownVm, { principal }: Pick<Call, 'principal'>): Promise<VmDetail> {
    const unknown = this.#find(id);
    const facts = await this.#factsOf(unknown);
    const said = { ...request, by: principal.name };
    const vm = await change(this.#context, (basis) => adoptUnknown(basis, this.#find(id), facts, said));
    return this.#vms.get(vm.id);
  }

  /** Has one deleted, once what goes was read. The errors of `deleteUnknown`, and 'not-found'. */
  async delete(
    id: string,
    { confirmed = false }: DeleteUnknownVmQuery,
    { principal }: Pick<Call, 'principal'>,
  ): Promise<UnknownVmDeletion> {
    const goes = wordsOf(this.#find(id));
    const task = confirmed
      ? await change(this.#context, (basis) => deleteUnknown(basis, this.#find(id), principal.name))
      : null;
    return { vm: id, goes, task };
  }

  /** Null for one that does not run, and for one whose QEMU does not answer: then people say what it is. */
  async #factsOf(unknown: UnknownVm): Promise<MachineFacts | null> {
    if (unknown.processes.length === 0) return null;
    return this.#controller()
      .machineFacts(unknown)
      .catch((error: unknown) => {
        throw new CodedError('unavailable', `The QEMU of ${unknown.vm} does not tell what it is: ${messageOf(error)}`, {
          advice: 'Nothing was changed. Try again.',
        });
      });
  }

  #find(id: string): UnknownVm {
    const found = this.#controller().unknown.find(parseVmId(id));
    if (found !== undefined) return found;
    throw new CodedError('not-found', `There is no unknown VM ${id}.`, {
      advice: 'Nothing was changed. List them with "gp unknown list".',
    });
  }

  #controller(): Controller {
    const leading = this.#context.leading();
    if (leading !== null) return leading.controller;
    throw new NobodyLeads('This control node does not lead, and only the leader sees what no record knows.');
  }
}

function viewOf({ vm, processes, disks }: UnknownVm): UnknownVmView {
  return {
    vm,
    processes: processes.map(({ host, generation }) => ({ host, generation })),
    disks: disks.map(({ disk, node, sizeBytes, generations }) => ({
      ...{ disk, node, sizeBytes },
      generations: [...generations],
    })),
  };
}
