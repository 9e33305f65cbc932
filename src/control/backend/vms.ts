/** VMs through the API: their views. Requests about them are decided in core/request. */
import type { VmFigures } from '../../api/figure-views.ts';
import type { Admission } from '../../api/overview-views.ts';
import type {
  AddNic,
  BulkActionRequest,
  CreateVm,
  MigrateVm,
  PatchVm,
  StartVm,
  StopVm,
  VmLogQuery,
  VmQuery,
} from '../../api/requests.ts';
import type { Task, Vm, VmDetail, VmGuest, VmLog } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import type { StorageName } from '../../base/ids.ts';
import { lastLines } from '../../base/lines.ts';
import { NeedsAcceptance, NobodyLeads } from '../../base/problem.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import { currentIncarnation, type VmRecord } from '../../core/model/vm.ts';
import type { Entry } from '../../core/ports/store.ts';
import { type Admitted, type Basis, findVm } from '../../core/request/basis.ts';
import { beginBulk } from '../../core/request/bulk.ts';
import { type CreatedVm, createVm, newVmId } from '../../core/request/new-vm.ts';
import { addNic, patchVm, removeNic } from '../../core/request/vm-changes.ts';
import { deleteVm, migrateVm, resetVm, resumeVm, startVm, stopVm, suspendVm } from '../../core/request/vm-wishes.ts';
import type { Call, Conditional } from '../api/call.ts';
import { type Page, pageOf } from '../api/pages.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { Artifacts } from './artifacts.ts';
import { basisOf, change, changeWithTask } from './changes.ts';
import { seedOf } from './cloud-init.ts';
import { type BackendContext, observedBy } from './context.ts';
import { figuresOf } from './figures.ts';
import { checkGuarded, guarded, guardedTask, type Signed } from './guarded.ts';
import { GuestFacts } from './guest-facts.ts';
import { taskView, verdictOf, vmDetailView, vmView } from './views.ts';

const LOG_DEADLINE_MS = 5_000;
const LOG_BYTES_MAX = 256 * 1024;
const LOG_LINES_DEFAULT = 200;

/** VMs through the API: a change is recorded when its promise resolves; the leader's loop carries it out. */
export class VmsBackend {
  readonly #context: BackendContext;
  readonly #artifacts: Artifacts;
  readonly #guests: GuestFacts;

  /** `artifacts` is the node's own instance, which also deletes unused files. */
  constructor(context: BackendContext, artifacts = new Artifacts(context)) {
    this.#context = context;
    this.#artifacts = artifacts;
    this.#guests = new GuestFacts(context);
  }

  list(query: VmQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Vm>> {
    const { store } = this.#context;
    const wanted = (query.label ?? []).map(parseSelector);
    // Users sort by name, and the table of names is in that order.
    const view = (name: string): Vm | null => {
      const entry = store.vms.get(store.vmNames.get(name)?.value ?? '');
      if (entry === undefined) return null;
      const { phase, spec } = entry.value;
      if (query.name !== undefined && name !== query.name) return null;
      if (query.host !== undefined && currentIncarnation(phase)?.host !== query.host) return null;
      if (!wanted.every((selector) => isLabelled(spec.labels, selector))) return null;
      if (query.verdict !== undefined && verdictOf(this.#context, entry.value).verdict !== query.verdict) return null;
      return vmView(this.#context, entry, null);
    };
    return pageOf({ order: store.vmNames.order, view }, query, signal);
  }

  /** The VM of a name or an id. CodedError 'not-found'. */
  find(vm: string): VmRecord {
    return findVm(snapshotOf(this.#context.store), vm).value;
  }

  /** The guest's own report; waits for it for some seconds at most. */
  guest(vm: string): Promise<VmGuest> {
    return this.#guests.of(this.find(vm));
  }

  get(vm: string): VmDetail {
    const entry = findVm(snapshotOf(this.#context.store), vm);
    return vmDetailView(this.#context, entry, this.#taskOf(entry.value));
  }

  /** With `start` (default true) the answer's `task` is the start. CodedError 'no-capacity' if etcd has no room. */
  async create(request: Signed<CreateVm>): Promise<Vm> {
    this.#context.etcdSpace.demandRoom();
    const { vm, task } = await this.#admit(request);
    return vmView(
      this.#context,
      findVm(snapshotOf(this.#context.store), vm.id),
      task === null ? null : this.#task(task.id),
    );
  }

  /** Stores a seed on the node of the VM's disks first, so that records, which are rewritten often, only name it. */
  #admit(request: Signed<CreateVm>): Promise<CreatedVm> {
    const context = this.#context;
    const id = newVmId(context);
    const seed = seedOf(request, id);
    const asked = { accept: request.accept, what: `creation of ${request.name}`, done: 'created' } as const;
    const admit = (node: StorageName | null): Promise<CreatedVm> =>
      guarded(context, asked, (basis) => createVm(basis, observedBy(context), request, { id, seed, node }));
    if (seed === null) return admit(null);
    const { node } = createVm(basisOf(context), observedBy(context), request, { id, seed, node: null }).result;
    return this.#artifacts.withSeed(seed, node, () => admit(node));
  }

  /** The result that `create` would have now; nothing is written. */
  checkNew(request: Signed<CreateVm>, { signal }: Pick<Call, 'signal'>): Promise<Admission> {
    const context = this.#context;
    return admissionOf(async () => {
      context.etcdSpace.demandRoom();
      const id = newVmId(context);
      const given = { id, seed: seedOf(request, id), node: null };
      const what = `creation of ${request.name}`;
      const asked = { accept: request.accept, what, done: 'created', signal } as const;
      const decide = (basis: Basis) => createVm(basis, observedBy(context), request, given);
      return (await checkGuarded(context, asked, decide)).node;
    });
  }

  /** The result that `patch` would have now; nothing is written. CodedError 'not-found'. */
  async check(
    name: string,
    { accept, ...patch }: Signed<PatchVm>,
    { signal }: Pick<Call, 'signal'>,
  ): Promise<Admission> {
    findVm(basisOf(this.#context).records, name);
    return admissionOf(async () => {
      const asked = { accept, what: `change of ${name}`, done: 'changed', signal } as const;
      await checkGuarded(this.#context, asked, (basis) => patchVm(basis, name, { ...patch, ifMatch: null }));
      return null;
    });
  }

  async patch(name: string, { accept, ...patch }: Signed<PatchVm> & Conditional): Promise<Vm> {
    const asked = { accept, what: `change of ${name}`, done: 'changed' } as const;
    await guarded(this.#context, asked, (basis) => patchVm(basis, name, patch));
    return vmView(this.#context, findVm(snapshotOf(this.#context.store), name), null);
  }

  /**
   * Adds a network card: at once if the VM has no machine, otherwise at its next start; the card's address is reserved
   * at once.
   */
  async addNic(name: string, request: AddNic & Conditional): Promise<Vm> {
    await change(this.#context, (basis) => addNic(basis, name, request));
    return vmView(this.#context, findVm(snapshotOf(this.#context.store), name), null);
  }

  async removeNic(name: string, card: { readonly mac: string } & Conditional): Promise<Vm> {
    await change(this.#context, (basis) => removeNic(basis, name, card));
    return vmView(this.#context, findVm(snapshotOf(this.#context.store), name), null);
  }

  delete(name: string, condition: Conditional): Promise<Task> {
    return this.#asked((basis) => deleteVm(basis, name, condition));
  }

  async start(name: string, { accept }: Signed<StartVm> = {}): Promise<Task> {
    const asked = { accept, what: `start of ${name}`, done: 'changed' } as const;
    return taskView(await guardedTask(this.#context, asked, (basis) => startVm(basis, name)));
  }

  stop(name: string, request: StopVm): Promise<Task> {
    return this.#asked((basis) => stopVm(basis, observedBy(this.#context), name, request));
  }

  /** One action on many VMs, as one task, which the leader carries out. */
  act(request: Signed<BulkActionRequest>): Promise<Task> {
    return this.#asked((basis) => beginBulk(basis, request));
  }

  reset(name: string): Promise<Task> {
    return this.#asked((basis) => resetVm(basis, name));
  }

  suspend(name: string): Promise<Task> {
    return this.#asked((basis) => suspendVm(basis, name));
  }

  resume(name: string): Promise<Task> {
    return this.#asked((basis) => resumeVm(basis, name));
  }

  migrate(name: string, request: MigrateVm): Promise<Task> {
    return this.#asked((basis) => migrateVm(basis, name, request));
  }

  async log(name: string, query: VmLogQuery): Promise<VmLog> {
    const vm = this.find(name);
    const current = currentIncarnation(vm.phase);
    if (current === null)
      throw new CodedError('conflict', `${vm.name} does not run, so it has no log.`, { advice: 'Start it first.' });
    const parameters = `vm=${vm.id}&generation=${current.generation}&bytes=${LOG_BYTES_MAX}`;
    const content = await this.#context.hosts.log(current.host, parameters, LOG_DEADLINE_MS);
    const text = lastLines(content, query.lines ?? LOG_LINES_DEFAULT);
    return {
      vm: vm.name,
      host: current.host,
      generation: current.generation,
      text,
      truncated: text.length < content.length,
    };
  }

  /** The VM's present use of resources. The errors of `figuresOf`. */
  figures(name: string): Promise<VmFigures> {
    return figuresOf(this.#context, name);
  }

  #task(id: TaskRecord['id']): Entry<TaskRecord> | null {
    return this.#context.store.tasks.get(id) ?? null;
  }

  #taskOf(vm: VmRecord): Entry<TaskRecord> | null {
    const fromPhase = 'taskId' in vm.phase ? vm.phase.taskId : null;
    const id =
      fromPhase ??
      vm.stopRequest?.taskId ??
      vm.migrationRequest?.taskId ??
      vm.resetRequest?.taskId ??
      vm.startTask ??
      vm.pauseTask ??
      null;
    return id === null ? null : this.#task(id);
  }

  async #asked(decide: (basis: Basis) => Admitted<TaskRecord['id']>): Promise<Task> {
    return taskView(await changeWithTask(this.#context, decide));
  }
}

/** Runs admission; `ask` answers with the storage node of new disks, or rejects in order to refuse. */
async function admissionOf(ask: () => Promise<StorageName | null>): Promise<Admission> {
  try {
    return { admitted: true, code: null, reason: null, advice: null, acceptance: null, node: await ask() };
  } catch (error) {
    if (!(error instanceof CodedError) || error instanceof NobodyLeads) throw error;
    const { code, message, advice = null } = error;
    const acceptance = error instanceof NeedsAcceptance ? error.acceptance : null;
    return { admitted: false, code, reason: message, advice, acceptance, node: null };
  }
}

interface Selector {
  readonly key: string;
  readonly value: string | undefined;
}

/** Returns true if the VM itself has the label: inherited properties such as `constructor` are no labels. */
function isLabelled(labels: Readonly<Record<string, string>>, { key, value }: Selector): boolean {
  return Object.hasOwn(labels, key) && (value === undefined || labels[key] === value);
}

function parseSelector(selector: string): Selector {
  const at = selector.indexOf('=');
  return at === -1
    ? { key: selector, value: undefined }
    : { key: selector.slice(0, at), value: selector.slice(at + 1) };
}
